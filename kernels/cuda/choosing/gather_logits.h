// Choosing tokens where ranks hold a slice of the logits each: the slices are gathered, then every rank
// chooses alike.
#pragma once

#include <cstdint>

#include "base/range.h"
#include "kernels/cuda/between_ranks/exchange.h"
#include "kernels/cuda/choosing/choose.h"

namespace sinkstream::kernels::cuda {

// Backend::choose, with its arguments.   logits [outputs, vocab.size()]
void gather_and_choose(const Device& device, Exchange* exchange, ConstMatrix logits, std::int64_t vocab_size,
                       DeviceSpan<const ChoiceTask> tasks, const SlotStatesView& states,
                       DeviceSpan<Choice> out);

}  // namespace sinkstream::kernels::cuda
