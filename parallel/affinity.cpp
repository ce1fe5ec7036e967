#include "parallel/affinity.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <set>

#include "parallel/shard_plan.h"

namespace sinkstream {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown-host";
}

std::string link_target(const char* path) {
  std::array<char, 256> target{};
  const ssize_t length = ::readlink(path, target.data(), target.size());
  return length > 0 ? std::string(target.data(), static_cast<std::size_t>(length)) : "";
}

std::string first_line(const std::string& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

// OpenMPI's daemon may use all CPUs that the host allows, whatever it binds its ranks to.
bool is_openmpi_daemon(int pid) {
  const std::string name = first_line("/proc/" + std::to_string(pid) + "/comm");
  return name == "mpirun" || name == "orterun" || name == "mpiexec" || name == "orted";
}

std::vector<int> cpus_of_process(int pid) {
  // Machines of more CPUs than the first set holds need a larger one.
  for (int capacity = 1024; capacity <= 1 << 16; capacity *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(capacity));
    if (set == nullptr) return {};
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(capacity));
    std::vector<int> cpus;
    const bool fits = ::sched_getaffinity(pid, bytes, set) == 0;
    for (int cpu = 0; fits && cpu < capacity; ++cpu) {
      if (CPU_ISSET_S(static_cast<std::size_t>(cpu), bytes, set)) cpus.push_back(cpu);
    }
    CPU_FREE(set);
    if (fits) return cpus;
  }
  return {};
}

}  // namespace

std::string host_identity() {
  return host_name() + " " + first_line("/proc/sys/kernel/random/boot_id") + " " +
         link_target("/proc/self/ns/net") + " " + link_target("/proc/self/ns/pid");
}

LocalRanks find_local_ranks(Communicator& communicator) {
  const std::vector<std::string> identities = all_gather_strings(communicator, host_identity());
  const auto me = identities.begin() + communicator.rank();
  LocalRanks local;
  local.host = host_name();
  local.local_rank = static_cast<int>(std::count(identities.begin(), me, *me));
  local.local_size = static_cast<int>(std::count(identities.begin(), identities.end(), *me));
  local.single_host = local.local_size == communicator.size();
  return local;
}

std::vector<int> allowed_cpus() {
  const std::vector<int> own = cpus_of_process(0);
  std::set<int> cpus(own.begin(), own.end());
  if (const int parent = ::getppid(); is_openmpi_daemon(parent)) {
    const std::vector<int> theirs = cpus_of_process(parent);
    cpus.insert(theirs.begin(), theirs.end());
  }
  return {cpus.begin(), cpus.end()};
}

std::vector<int> cpus_of_local_rank(const std::vector<int>& cpus, int local_rank, int local_size) {
  if (cpus.empty()) return {};
  const auto count = static_cast<std::int64_t>(cpus.size());
  if (local_size > count) return {cpus[static_cast<std::size_t>(local_rank % count)]};
  const Range share = split_evenly(count, local_size, local_rank);
  return {cpus.begin() + share.begin, cpus.begin() + share.end};
}

bool bind_to_cpus(const std::vector<int>& cpus) {
  if (cpus.empty()) return false;
  const auto capacity = static_cast<std::size_t>(*std::max_element(cpus.begin(), cpus.end())) + 1;
  cpu_set_t* set = CPU_ALLOC(capacity);
  if (set == nullptr) return false;
  const std::size_t bytes = CPU_ALLOC_SIZE(capacity);
  CPU_ZERO_S(bytes, set);
  for (const int cpu : cpus) CPU_SET_S(static_cast<std::size_t>(cpu), bytes, set);
  const bool bound = ::sched_setaffinity(0, bytes, set) == 0;
  CPU_FREE(set);
  return bound;
}

}  // namespace sinkstream
