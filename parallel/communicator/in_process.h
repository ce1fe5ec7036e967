// A worker group of threads in one process, for tests and for a group of one.
#pragma once

#include <memory>
#include <vector>

#include "parallel/communicator/communicator.h"

namespace sinkstream {

// One communicator for each rank; they may outlive one another in any order.
std::vector<std::unique_ptr<Communicator>> make_in_process_group(int size);

}  // namespace sinkstream
