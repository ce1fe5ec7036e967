// What came of a step's slot operations. One that fails, perhaps on one rank only, ends its session; the
// group goes on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/communicator/communicator.h"

namespace sinkstream {

struct OperationFailure {
  std::int32_t operation = 0;  // index into StepPlan::operations
  std::string message;
  bool unfinished = false;  // it asked for a job that isn't done; there is no message
  bool operator==(const OperationFailure&) const = default;
};

// Collective, after the launch of a step that has operations: the failures of all ranks, each told with its
// rank, on every rank.
std::vector<OperationFailure> gather_failures(Communicator& communicator,
                                              const std::vector<OperationFailure>& mine);

}  // namespace sinkstream
