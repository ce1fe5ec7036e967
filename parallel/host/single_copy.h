// Copies between processes by process_vm_readv, which containers may refuse: OpenMPI then writes a line for
// each message that it sends another way.
#pragma once

namespace sinkstream {

// Whether a process that this one started may read its memory, as ranks read one another's.
bool can_read_between_processes();

// Where it may not, has OpenMPI (4 and 5) not try, unless the user has set that. Before MPI starts, and
// before there are threads.
void avoid_refused_copies();

}  // namespace sinkstream
