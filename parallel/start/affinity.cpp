#include "parallel/start/affinity.h"

#include <sched.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "parallel/shard_plan.h"
#include "parallel/start/local_ranks.h"

namespace sinkstream {
namespace {

std::string first_line(const std::string& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

bool is_openmpi_daemon(const std::string& name) {
  constexpr const char* kNames[] = {"mpirun", "orterun", "mpiexec", "orted", "prterun", "prte", "prted"};
  return std::ranges::find(kNames, name) != std::end(kNames);
}

// OpenMPI's variables and options by which a user says which CPUs ranks get. (mpirun hands on its options as
// such variables, version 5 not all of them.)
constexpr const char* kBindingVariables[] = {
    "OMPI_MCA_hwloc_base_binding_policy",    "OMPI_MCA_hwloc_base_cpu_set",
    "OMPI_MCA_hwloc_base_cpu_list",          "OMPI_MCA_hwloc_base_slot_list",
    "OMPI_MCA_rmaps_rank_file_path",         "OMPI_MCA_orte_rankfile",
    "PRTE_MCA_hwloc_default_binding_policy", "PRTE_MCA_hwloc_default_cpu_list",
};
constexpr const char* kMappingVariables[] = {"OMPI_MCA_rmaps_base_mapping_policy",
                                             "PRTE_MCA_rmaps_default_mapping_policy"};
constexpr const char* kBindingOptions[] = {"bind-to",      "cpu-set",       "cpu-list",      "rankfile",
                                           "rf",           "cpus-per-proc", "cpus-per-rank", "slot-list",
                                           "bind-to-core", "bind-to-socket"};
// By which OpenMPI tells a rank what it started, and what binds the program that it starts itself, as in
// "mpirun -np 1 taskset -c 1 stream-worker".
constexpr const char* kCommandVariables[] = {"OMPI_COMMAND", "OMPI_ARGV"};
constexpr const char* kBinders[] = {"taskset", "numactl", "hwloc-bind"};

bool names_cpus(std::string mapping) {  // "slot:pe=2", "pe-list=0,1"
  std::ranges::transform(mapping, mapping.begin(), [](unsigned char c) { return std::tolower(c); });
  return mapping.find("pe=") != std::string::npos || mapping.find("pe-list=") != std::string::npos ||
         mapping.find("rankfile") != std::string::npos;
}

bool has_binder(const char* command) {
  std::istringstream words(command == nullptr ? "" : command);
  for (std::string word; words >> word;) {
    if (std::ranges::find(kBinders, std::filesystem::path(word).filename()) != std::end(kBinders))
      return true;
  }
  return false;
}

bool options_name_cpus(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  for (std::string word; std::getline(file, word, '\0');) {
    const std::size_t name = word.find_first_not_of('-');
    if (name == 0 || name == std::string::npos) {
      if (names_cpus(word)) return true;
      continue;
    }
    const std::string option = word.substr(name, word.find('=') - name);
    if (std::ranges::find(kBindingOptions, option) != std::end(kBindingOptions) || names_cpus(word))
      return true;
  }
  return false;
}

// Whether the CPUs that we are bound to are the launcher's own choice, which is one core for each of one or
// two ranks, and not the user's.
bool bound_by_default(const Surroundings& around, const std::string& launcher) {
  const auto is_set = [&](const char* name) { return around.variable(name) != nullptr; };
  if (std::ranges::any_of(kBindingVariables, is_set)) return false;
  for (const char* name : kMappingVariables) {
    if (is_set(name) && names_cpus(around.variable(name))) return false;
  }
  for (const char* name : kCommandVariables) {
    if (has_binder(around.variable(name))) return false;
  }
  const bool is_version_4 = is_set("OMPI_MCA_orte_launch");
  if (is_version_4 && !is_set("OMPI_MCA_orte_bound_at_launch")) return false;
  return !options_name_cpus(launcher + "/cmdline");
}

// "Cpus_allowed_list:	0-3,8" of a process's status.
std::vector<int> cpus_in_status(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  const std::string key = "Cpus_allowed_list:";
  while (std::getline(file, line) && !line.starts_with(key)) {
  }
  std::vector<int> cpus;
  std::istringstream ranges(file ? line.substr(key.size()) : "");
  for (std::string range; std::getline(ranges, range, ',');) {
    int first = 0, last = 0;
    char dash = 0;
    std::istringstream numbers(range);
    if (!(numbers >> first)) continue;
    if (!(numbers >> dash >> last)) last = first;
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

}  // namespace

std::vector<int> allowed_cpus(const Surroundings& around) {
  std::vector<int> own = cpus_in_status((around.proc / "thread-self" / "status").string());
  const std::string launcher = (around.proc / std::to_string(around.parent)).string();
  if (!is_openmpi_daemon(first_line(launcher + "/comm")) || !bound_by_default(around, launcher)) return own;
  const std::vector<int> theirs = cpus_in_status(launcher + "/status");
  return theirs.empty() ? own : theirs;
}

std::vector<int> share_of_cpus(Communicator& communicator, const std::vector<int>& allowed) {
  std::string mine = host_identity();
  for (const int cpu : allowed) mine += ' ' + std::to_string(cpu);
  const std::vector<std::string> all = all_gather_strings(communicator, mine);
  const auto before = std::count(all.begin(), all.begin() + communicator.rank(), mine);
  const auto sharers = std::count(all.begin(), all.end(), mine);
  return cpus_of_local_rank(allowed, static_cast<int>(before), static_cast<int>(sharers));
}

std::int64_t threads_of_local_rank(std::int64_t cpus, std::optional<double> quota, int local_rank,
                                   int local_size) {
  if (!quota) return std::max<std::int64_t>(1, cpus);
  const auto whole = static_cast<std::int64_t>(std::min(*quota, 1e6));
  const std::int64_t share = split_evenly(whole, local_size, local_rank).size();
  return std::max<std::int64_t>(1, std::min(cpus, share));
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
