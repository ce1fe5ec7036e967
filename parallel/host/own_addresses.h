// OpenMPI 5 asks the kernel for the routes between ranks, finds none to an IPv6 address of its own host, and
// writes a line about it at every start.
#pragma once

#include "parallel/host/roll_call.h"

namespace sinkstream {

// Where all ranks share one host, has OpenMPI compare addresses instead, unless the user has set that:
// between hosts the routes tell more. Before MPI starts, and before there are threads.
void reach_own_addresses(const LaunchedAs& launched);

}  // namespace sinkstream
