// Which GPU each rank computes on.
#pragma once

#include <string>
#include <vector>

#include "kernels/gpus.h"
#include "parallel/communicator/communicator.h"

namespace sinkstream {

// What a rank sees. Launchers show all ranks of a host the same GPUs, or each rank its own.
struct VisibleGpus {
  std::string host;  // host_identity()
  std::vector<kernels::Gpu> gpus;
};

// This process. Throws StartupError (ExitCode::device): no GPU.
VisibleGpus see_gpus();

struct RankGpu {
  kernels::Gpu gpu;
  int ranks = 1;  // of the group on it
};

// For each rank, in order, the first GPU it sees on which fewest ranks are so far. Throws StartupError
// (ExitCode::device), naming host or rank, where a GPU would have several ranks and may not, and where ranks
// would have GPUs of several compute capabilities, whose results differ in their last bits.
std::vector<RankGpu> place_ranks(const std::vector<VisibleGpus>& ranks, bool may_share);

// This rank's. Collective; throws the same on every rank, and where a rank has no GPU.
RankGpu find_rank_gpu(Communicator& group, bool may_share);

}  // namespace sinkstream
