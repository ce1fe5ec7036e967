// What choosing tokens knows of each slot, in this host's memory.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/choice.h"
#include "kernels/host/penalty_counts.h"

namespace sinkstream::kernels {

// Of a turn in a slot; what has been chosen starts over with each.
struct HostSlotState {
  HostSlotState() = default;
  explicit HostSlotState(const SamplingParams& params) : sampling(params), penalty_counts(params) {}

  SamplingParams sampling;
  TokenId last_chosen = -1;
  std::int64_t num_chosen = 0;
  PenaltyCounts penalty_counts;

  bool bans_end_tokens() const { return num_chosen < sampling.min_tokens; }
  void choose(TokenId token) {
    last_chosen = token;
    ++num_chosen;
    if (token >= 0) penalty_counts.add(token);
  }
};

class HostSlotStates final : public SlotStates {
 public:
  explicit HostSlotStates(std::int32_t num_slots) : slots_(static_cast<std::size_t>(num_slots)) {}

  HostSlotState& slot(std::int32_t slot) { return slots_.at(static_cast<std::size_t>(slot)); }
  const HostSlotState& slot(std::int32_t slot) const { return slots_.at(static_cast<std::size_t>(slot)); }

 private:
  std::vector<HostSlotState> slots_;
};

// Those that a host backend made.
inline HostSlotStates& host_states(SlotStates& states) {
  return dynamic_cast<HostSlotStates&>(states);
}
inline const HostSlotStates& host_states(const SlotStates& states) {
  return dynamic_cast<const HostSlotStates&>(states);
}

}  // namespace sinkstream::kernels
