// Which ranks of a group share a host.
#pragma once

#include <string>

#include "parallel/communicator/communicator.h"

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

}  // namespace sinkstream
