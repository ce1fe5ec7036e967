// What carries sums between the ranks of a group.
#pragma once

#include <memory>

#include "parallel/communicator/communicator.h"
#include "parallel/start/local_ranks.h"
#include "programs/config.h"

namespace sinkstream {

// As parallel.communicator asks for: one over `group`, which must outlive it. None: `group` itself.
// Collective. Throws StartupError.
std::unique_ptr<Communicator> rank_communicator(Communicator& group, const Config& config,
                                                const LocalRanks& local);

}  // namespace sinkstream
