// Chooses tokens without gathering the vocabulary: each rank works on its own slice of the logits, and only a
// few candidates and partial sums are exchanged. Every rank comes to the same result.
#pragma once

#include <cstdint>
#include <span>

#include "base/range.h"
#include "kernels/choice.h"
#include "kernels/host/logits_scan.h"
#include "kernels/host/slot_states.h"
#include "kernels/host_matrix.h"
#include "parallel/communicator/communicator.h"

namespace sinkstream::kernels {

// Collective; Backend::choose says what it does.
void choose_tokens(Communicator& group, LogitsScan& scan, ConstHostMatrix local_logits, Range vocab,
                   std::int64_t vocab_size, std::span<const ChoiceTask> tasks, HostSlotStates& states,
                   std::span<Choice> out);

}  // namespace sinkstream::kernels
