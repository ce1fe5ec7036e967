// Which CPUs a rank runs on. OpenMPI binds each rank of `-np 1` and `-np 2` to one core, so ranks bind
// themselves.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "parallel/communicator/communicator.h"

namespace sinkstream {

// Where a process learns which CPUs it was given; tests make their own.
struct Surroundings {
  std::filesystem::path proc = "/proc";
  int parent = ::getppid();
  std::function<const char*(const char*)> variable = ::getenv;
};

// The CPUs that this process was given: its own, but where OpenMPI bound it and nobody asked for that, those
// of OpenMPI's daemon, which are the user's (taskset, a container's cpuset).
std::vector<int> allowed_cpus(const Surroundings& around = {});

// Collective: this rank's part of its CPUs, shared with the ranks of its host that were given the same.
std::vector<int> share_of_cpus(Communicator& communicator, const std::vector<int>& allowed);

// Pure: a rank's threads on so many CPUs, with the host's ranks together within `quota` CPUs' time.
std::int64_t threads_of_local_rank(std::int64_t cpus, std::optional<double> quota, int local_rank,
                                   int local_size);

// Pure: this local rank's contiguous share of `cpus`; with more ranks than CPUs, one CPU, shared round-robin.
std::vector<int> cpus_of_local_rank(const std::vector<int>& cpus, int local_rank, int local_size);

// Binds the calling thread and the threads that it starts from now on. Returns false where the host refuses.
bool bind_to_cpus(const std::vector<int>& cpus);

}  // namespace sinkstream
