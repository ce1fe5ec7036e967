#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/round_up.h"
#include "kernels/cuda/choosing/slot_states.h"
#include "kernels/cuda/early_launch.h"
#include "kernels/cuda/warp.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// A token and its bias, as they are uploaded.
struct Entry {
  TokenId token;
  float bias;
};
constexpr std::int64_t kEntriesAtOnce = 4096;

__global__ void mark_kernel(const TokenId* tokens, std::int64_t count, std::uint8_t* is_end) {
  const std::int64_t i = thread_of_grid();
  if (i < count) is_end[tokens[i]] = 1;
}

__global__ void set_biases_kernel(const Entry* entries, std::int64_t count, float* biases) {
  const std::int64_t i = thread_of_grid();
  if (i < count) biases[entries[i].token] = entries[i].bias;
}

__global__ void count_kernel(const TokenId* tokens, std::int64_t count, std::int32_t* counts) {
  const std::int64_t i = thread_of_grid();
  if (i < count) atomicAdd(&counts[tokens[i]], 1);
}

__global__ void take_last_chosen_kernel(const std::int32_t* slots, std::int64_t rows, const SlotState* states,
                                        std::int32_t* tokens) {
  begin_after_previous();
  const std::int64_t row = thread_of_grid();
  if (row < rows && tokens[row] == kLastChosen) tokens[row] = states[slots[row]].last_chosen;
}

// Where the arrays stand, one after the other.
class Layout {
 public:
  explicit Layout(Address begin) : begin_(begin) {}

  Address place(std::int64_t bytes) {
    constexpr std::int64_t kAlignment = 256;
    return begin_ + std::exchange(bytes_, bytes_ + round_up(bytes, kAlignment));
  }
  template <typename T>
  T* place_array(std::int64_t size) {
    return device_pointer<T>(place(size * std::int64_t{sizeof(T)}));
  }
  std::int64_t bytes() const { return bytes_; }

 private:
  Address begin_;
  std::int64_t bytes_ = 0;
};

SlotStatesView place(Layout& layout, std::int32_t num_slots, std::int64_t vocab_size) {
  SlotStatesView view;
  view.vocab_size = vocab_size;
  view.states = layout.place_array<SlotState>(num_slots);
  view.counts = layout.place_array<std::int32_t>(num_slots * vocab_size);
  view.biases = layout.place_array<float>(num_slots * vocab_size);
  view.is_end = layout.place_array<std::uint8_t>(num_slots * vocab_size);
  view.newest = layout.place_array<TokenId>(num_slots * std::int64_t{kMaxRepeatLastN});
  return view;
}

template <typename T>
void clear(const Device& device, T* array, std::int64_t size) {
  check(cudaMemsetAsync(array, 0, static_cast<std::size_t>(size) * sizeof(T), device.stream),
        "clearing a slot's tokens");
}

// Uploads entries to `list`, as many at once as it has room for, and calls use(how many) after each part.
template <typename T, typename Use>
void in_parts(std::span<const T> entries, const CudaSlotStates::Upload& upload, Address list,
              const Use& use) {
  while (!entries.empty()) {
    const auto part = entries.first(std::min(entries.size(), static_cast<std::size_t>(kEntriesAtOnce)));
    upload(std::as_bytes(part), list);
    use(std::ssize(part));
    entries = entries.subspan(part.size());
  }
}

Address address_of(const void* pointer) {
  return Address{reinterpret_cast<std::uintptr_t>(pointer)};
}

SlotState state_of(const SamplingParams& sampling) {
  return {.temperature = sampling.temperature,
          .top_p = sampling.top_p,
          .min_p = sampling.min_p,
          .top_k = sampling.top_k,
          .repetition_penalty = sampling.repetition_penalty,
          .presence_penalty = sampling.presence_penalty,
          .frequency_penalty = sampling.frequency_penalty,
          .repeat_last_n = sampling.repeat_last_n,
          .seed = sampling.seed,
          .min_tokens = sampling.min_tokens,
          .has_penalties = sampling.has_penalties(),
          .has_bias = !sampling.logit_bias.empty()};
}

}  // namespace

std::int64_t CudaSlotStates::bytes(std::int32_t num_slots, std::int64_t vocab_size) {
  Layout layout(Address::none);
  place(layout, num_slots, vocab_size);
  layout.place_array<Entry>(kEntriesAtOnce);
  return layout.bytes();
}

CudaSlotStates::CudaSlotStates(std::int32_t num_slots, std::int64_t vocab_size, Buffer memory,
                               const Upload& upload)
    : num_slots_(num_slots), memory_(std::move(memory)) {
  Layout layout(memory_.address());
  view_ = place(layout, num_slots, vocab_size);
  list_ = layout.place(kEntriesAtOnce * std::int64_t{sizeof(Entry)});
  if (layout.bytes() > memory_.bytes()) throw std::invalid_argument("slot states: too little memory");
  for (std::int32_t slot = 0; slot < num_slots; ++slot) set(upload, slot, {});
}

void CudaSlotStates::check_slot(std::int32_t slot) const {
  if (slot < 0 || slot >= num_slots_) throw std::out_of_range("no slot " + std::to_string(slot));
}

void CudaSlotStates::set(const Upload& upload, std::int32_t slot, const SlotState& state) const {
  upload(std::as_bytes(std::span(&state, 1)), address_of(view_.states + slot));
}

void CudaSlotStates::set_end_tokens(const Device& device, const Upload& upload, std::int32_t slot,
                                    std::span<const TokenId> end_tokens) const {
  std::set<TokenId> each;  // once: no two threads write to one place
  for (const TokenId token : end_tokens) {
    if (is_token(token)) each.insert(token);
  }
  const std::vector<TokenId> tokens(each.begin(), each.end());
  clear(device, view_.is_end_of(slot), view_.vocab_size);
  in_parts<TokenId>(tokens, upload, list_, [&](std::int64_t count) {
    launch(mark_kernel, thread_each(count, kThreads), device.stream, device_pointer<const TokenId>(list_),
           count, view_.is_end_of(slot));
  });
}

void CudaSlotStates::set_biases(const Device& device, const Upload& upload, std::int32_t slot,
                                std::span<const std::pair<TokenId, float>> biases) const {
  std::map<TokenId, float> bias_of;  // one entry a token: they are written in any order
  for (const auto& [token, bias] : biases) {
    if (is_token(token)) bias_of[token] += bias;
  }
  std::vector<Entry> entries;
  for (const auto& [token, bias] : bias_of) entries.push_back({token, bias});
  clear(device, view_.biases_of(slot), view_.vocab_size);
  in_parts<Entry>(entries, upload, list_, [&](std::int64_t count) {
    launch(set_biases_kernel, thread_each(count, kThreads), device.stream, device_pointer<const Entry>(list_),
           count, view_.biases_of(slot));
  });
}

std::int64_t CudaSlotStates::count_earlier(const Device& device, const Upload& upload, std::int32_t slot,
                                           const SamplingParams& sampling) const {
  std::vector<TokenId> counted;
  for (const TokenId token : sampling.earlier_output) {
    const bool is_end = std::ranges::find(sampling.end_tokens, token) != sampling.end_tokens.end();
    if (is_token(token) && !is_end) counted.push_back(token);
  }
  const std::int64_t kept = std::min<std::int64_t>(std::ssize(counted), sampling.repeat_last_n);
  if (kept == 0) return 0;
  const auto newest = std::span(counted).last(static_cast<std::size_t>(kept));
  upload(std::as_bytes(newest), address_of(view_.newest_of(slot)));
  launch(count_kernel, thread_each(kept, kThreads), device.stream,
         static_cast<const TokenId*>(view_.newest_of(slot)), kept, view_.counts_of(slot));
  return kept;
}

void CudaSlotStates::begin_turn(const Device& device, const Upload& upload, std::int32_t slot,
                                const SamplingParams& sampling) {
  check_slot(slot);
  SlotState state = state_of(sampling);
  if (sampling.min_tokens > 0 || state.counts_newest()) {
    set_end_tokens(device, upload, slot, sampling.end_tokens);
  }
  if (state.has_bias) set_biases(device, upload, slot, sampling.logit_bias);
  if (state.has_penalties) clear(device, view_.counts_of(slot), view_.vocab_size);
  if (state.counts_newest()) {
    if (sampling.repeat_last_n > kMaxRepeatLastN) throw std::invalid_argument("repeat_last_n is too large");
    state.num_counted = count_earlier(device, upload, slot, sampling);
  }
  set(upload, slot, state);
}

void CudaSlotStates::end_turn(const Upload& upload, std::int32_t slot) {
  check_slot(slot);
  set(upload, slot, {});
}

void take_last_chosen(const Device& device, DeviceSpan<const std::int32_t> slots,
                      const SlotStatesView& states, DeviceSpan<std::int32_t> tokens) {
  if (slots.empty()) return;
  launch_early(device, take_last_chosen_kernel, thread_each(slots.size, kThreads),
               device_pointer<const std::int32_t>(slots.data), slots.size, states.states,
               device_pointer<std::int32_t>(tokens.data));
}

}  // namespace sinkstream::kernels::cuda
