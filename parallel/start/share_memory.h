// How the ranks of one host come to share memory.
#pragma once

#include <memory>

#include "parallel/communicator/communicator.h"

namespace sinkstream {

// A communicator for the ranks of `base`, which are all on this host; see make_shared_memory_communicator.
// Collective. Throws StartupError (ExitCode::device) on every rank where one of them can't have the memory.
std::unique_ptr<Communicator> share_memory(Communicator& base);

}  // namespace sinkstream
