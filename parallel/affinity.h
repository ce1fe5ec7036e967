// Which CPUs a rank runs on. OpenMPI binds each rank of `-np 1` and `-np 2` to one core, so ranks bind
// themselves.
#pragma once

#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace sinkstream {

struct LocalRanks {
  std::string host;         // this rank's host name
  int local_rank = 0;       // this rank's number among the ranks of its host
  int local_size = 1;       // ranks on this host
  bool single_host = true;  // the whole group is on this host
};

// Equal for two processes that share a host: its name, boot, network and process numbers. (Containers may
// share a host's name without sharing its loopback.)
std::string host_identity();

// Collective: compares host identities.
LocalRanks find_local_ranks(Communicator& communicator);

// The CPUs that the host allows this group: the launcher's (parent process's) affinity joined with our own.
std::vector<int> allowed_cpus();

// Pure: this local rank's contiguous share of `cpus`; with more ranks than CPUs, one CPU, shared round-robin.
std::vector<int> cpus_of_local_rank(const std::vector<int>& cpus, int local_rank, int local_size);

// Binds the calling thread and the threads that it starts from now on. Returns false where the host refuses.
bool bind_to_cpus(const std::vector<int>& cpus);

}  // namespace sinkstream
