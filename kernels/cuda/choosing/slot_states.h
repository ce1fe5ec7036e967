// What choosing tokens knows of each slot, in a GPU's memory: dense arrays over the vocabulary, so that a
// step adds, bans and counts without the host, and nothing grows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/sampling_params.h"
#include "kernels/choice.h"
#include "kernels/cuda/device.h"

namespace sinkstream::kernels::cuda {

// A turn in a slot: SamplingParams without their lists, and what has been chosen.
struct SlotState {
  float temperature = 1;
  float top_p = 1;
  float min_p = 0;
  std::int32_t top_k = 0;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::int32_t repeat_last_n = -1;
  std::uint64_t seed = 0;
  std::int64_t min_tokens = 0;
  bool has_penalties = false;
  bool has_bias = false;

  TokenId last_chosen = -1;
  std::int64_t num_chosen = 0;
  std::int64_t num_counted = 0;  // with repeat_last_n: tokens that were ever among the newest

  constexpr bool is_truncated() const { return temperature > 0 && (top_k > 0 || top_p < 1 || min_p > 0); }
  constexpr bool bans_end_tokens() const { return num_chosen < min_tokens; }
  constexpr bool counts_newest() const { return has_penalties && repeat_last_n > 0; }
};

// The arrays, as kernels and recorded calls take them. A slot's counts are written only while it
// has_penalties, its biases while it has_bias, its end tokens while something asks for them; else they hold
// what an earlier turn left.
struct SlotStatesView {
  std::int64_t vocab_size = 0;
  SlotState* states = nullptr;     // [num_slots]
  std::int32_t* counts = nullptr;  // [num_slots, vocab_size]: how often penalties count a token
  float* biases = nullptr;         // [num_slots, vocab_size]
  std::uint8_t* is_end = nullptr;  // [num_slots, vocab_size]: 1 if the token ends an answer
  TokenId* newest = nullptr;       // [num_slots, kMaxRepeatLastN]: the i-th counted at i mod repeat_last_n

  constexpr std::int32_t* counts_of(std::int32_t slot) const { return counts + slot * vocab_size; }
  constexpr float* biases_of(std::int32_t slot) const { return biases + slot * vocab_size; }
  constexpr std::uint8_t* is_end_of(std::int32_t slot) const { return is_end + slot * vocab_size; }
  constexpr TokenId* newest_of(std::int32_t slot) const {
    return newest + slot * std::int64_t{kMaxRepeatLastN};
  }

  bool operator==(const SlotStatesView&) const = default;
};

class CudaSlotStates final : public SlotStates {
 public:
  // Copies to the device, in order with all that is queued; what it copies from may change when it returns.
  using Upload = std::function<void(std::span<const std::byte>, Address)>;

  static std::int64_t bytes(std::int32_t num_slots, std::int64_t vocab_size);

  // `memory`: bytes() of them.
  CudaSlotStates(std::int32_t num_slots, std::int64_t vocab_size, Buffer memory, const Upload& upload);

  // Queue their work as Backend's operations of these names do. Not to be recorded.
  void begin_turn(const Device& device, const Upload& upload, std::int32_t slot,
                  const SamplingParams& sampling);
  void end_turn(const Upload& upload, std::int32_t slot);

  const SlotStatesView& view() const { return view_; }

 private:
  void check_slot(std::int32_t slot) const;
  bool is_token(TokenId token) const { return token >= 0 && token < view_.vocab_size; }
  void set(const Upload& upload, std::int32_t slot, const SlotState& state) const;
  void set_end_tokens(const Device& device, const Upload& upload, std::int32_t slot,
                      std::span<const TokenId> tokens) const;
  void set_biases(const Device& device, const Upload& upload, std::int32_t slot,
                  std::span<const std::pair<TokenId, float>> biases) const;
  // Returns how many of them count.
  std::int64_t count_earlier(const Device& device, const Upload& upload, std::int32_t slot,
                             const SamplingParams& sampling) const;

  std::int32_t num_slots_;
  Buffer memory_;
  SlotStatesView view_;
  Address list_ = Address::none;  // tokens and biases on their way into the arrays
};

// Backend::take_last_chosen.   slots, tokens [rows]
void take_last_chosen(const Device& device, DeviceSpan<const std::int32_t> slots,
                      const SlotStatesView& states, DeviceSpan<std::int32_t> tokens);

}  // namespace sinkstream::kernels::cuda
