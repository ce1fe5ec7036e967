#include "programs/rank_communicator.h"

#include <spdlog/spdlog.h>

#include <string>

#include "base/error.h"
#include "parallel/start/share_memory.h"

namespace sinkstream {

std::unique_ptr<Communicator> rank_communicator(Communicator& group, const Config& config,
                                                const LocalRanks& local) {
  const std::string& asked = config.parallel.communicator;
  if (asked == "mpi" || group.size() == 1) return nullptr;
  if (!local.single_host) {
    if (asked != "shm") return nullptr;
    throw StartupError(
        ExitCode::config,
        "parallel.communicator: shm is for ranks of one host, and these are on several; take mpi");
  }
  try {
    return share_memory(group);
  } catch (const StartupError& error) {  // on every rank
    if (asked == "shm") throw;
    if (group.is_leader()) spdlog::warn("{}; it is taken instead", error.what());
    return nullptr;
  }
}

}  // namespace sinkstream
