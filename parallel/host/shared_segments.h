// What OpenMPI leaves in /dev/shm when a process ends without MPI and no daemon is there to tidy up.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sinkstream {

// The files among a process's mappings (the text of /proc/PID/maps) through which OpenMPI's ranks of one host
// exchange messages, each once: those of this process and of its peers in the same job. Deleted ones do not
// count.
std::vector<std::string> shared_segments(std::string_view maps);

// Unlinks those of this process. Peers that still live keep their mappings.
void remove_shared_segments();

}  // namespace sinkstream
