// Chooses tokens from logits that each rank has whole: every rank computes the same, and none asks the host.
#pragma once

#include <cstdint>

#include "kernels/choice.h"
#include "kernels/cuda/choosing/slot_states.h"
#include "kernels/cuda/device.h"

namespace sinkstream::kernels::cuda {

// All ranks' columns of some rows, one rank's matrix below the other's, each as wide as the largest slice of
// split_evenly(vocab_size, ranks); what a shorter one has behind its end isn't read.
//   [ranks * outputs, largest_slice]; not in the workspace of the Device
struct Logits {
  Address data = Address::none;
  std::int64_t outputs = 0;
  std::int64_t largest_slice = 0;
  std::int64_t vocab_size = 0;  // below 2^31
  std::int32_t ranks = 1;

  bool operator==(const Logits&) const = default;
};

// The least workspace that choose() can do with; it takes as many outputs at once as there is room for.
std::int64_t choose_workspace_bytes(std::int64_t vocab_size);

// Backend::choose.   tasks, out [outputs]
void choose(const Device& device, const Logits& logits, DeviceSpan<const ChoiceTask> tasks,
            const SlotStatesView& states, DeviceSpan<Choice> out);

}  // namespace sinkstream::kernels::cuda
