// Choosing tokens: what is wanted of a row of logits, and what came out.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "base/sampling_params.h"

namespace sinkstream::kernels {

inline constexpr std::int32_t kMaxTopLogprobs = 20;

// Stands for the token that was chosen last in a row's slot, so that nobody need have seen it.
inline constexpr TokenId kLastChosen = -1;

// Tasks and results are copied to and from a backend's memory as they are.
struct ChoiceTask {
  bool sample = true;     // choose the slot's next token; else score `target`
  bool logprobs = false;  // with `sample`: report log-probabilities (scoring always does)
  std::int32_t slot = 0;
  std::int32_t top_logprobs = 0;  // at most kMaxTopLogprobs
  TokenId target = 0;             // to score
  std::int64_t position = 0;      // of the token to choose; keys the noise
};

struct Choice {
  TokenId token = -1;     // -1: the logits were not finite
  float logprob = 0;      // of the raw logits; 0 unless asked for
  std::int64_t rank = 0;  // of a scored target among all tokens by raw logit: 1 for the first
  std::int32_t top_count = 0;
  std::array<TokenLogprob, kMaxTopLogprobs> top;  // most likely first
};
static_assert(std::is_trivially_copyable_v<ChoiceTask> && std::is_trivially_copyable_v<Choice>);

// What choosing tokens needs to know of each slot, in the backend: sampling parameters, the last token
// chosen, how often each token was. Made by Backend::make_slot_states; operations on it are queued like all
// others.
class SlotStates {
 public:
  virtual ~SlotStates() = default;
};

}  // namespace sinkstream::kernels
