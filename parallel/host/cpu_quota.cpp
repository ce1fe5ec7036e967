#include "parallel/host/cpu_quota.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace sinkstream {
namespace {

namespace fs = std::filesystem;

bool lists(const std::string& comma_separated, const std::string& word) {
  std::istringstream words(comma_separated);
  for (std::string each; std::getline(words, each, ',');) {
    if (each == word) return true;
  }
  return false;
}

// Where a hierarchy of control groups is mounted, and which of its groups stands there.
struct Hierarchy {
  bool is_v2;
  fs::path mount_point;
  fs::path mounted_group;
};

// "36 35 0:31 /group /sys/fs/cgroup rw - cgroup2 cgroup2 rw": its 4th and 5th fields, and those behind the
// dash.
std::optional<Hierarchy> parse_mount(const std::string& line) {
  const std::size_t dash = line.find(" - ");
  if (dash == std::string::npos) return std::nullopt;
  std::istringstream front(line.substr(0, dash)), back(line.substr(dash + 3));
  std::string skipped, group, mount_point, type, source, options;
  front >> skipped >> skipped >> skipped >> group >> mount_point;
  back >> type >> source >> options;
  if (type == "cgroup2") return Hierarchy{true, mount_point, group};
  if (type == "cgroup" && lists(options, "cpu")) return Hierarchy{false, mount_point, group};
  return std::nullopt;
}

// This process's group, as "/a/b": "0::/a/b", or "4:cpu,cpuacct:/a/b" in version 1.
std::optional<fs::path> group_of_process(const fs::path& root, bool is_v2) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (is_v2 ? line.starts_with("0::") : lists(controllers, "cpu")) return line.substr(second + 1);
  }
  return std::nullopt;
}

std::optional<double> quota_of_group(const fs::path& directory, bool is_v2) {
  double quota = 0, period = 0;
  if (is_v2) {
    std::ifstream file(directory / "cpu.max");  // "200000 100000", or "max 100000"
    if (!(file >> quota >> period)) return std::nullopt;
  } else {
    std::ifstream quota_file(directory / "cpu.cfs_quota_us"), period_file(directory / "cpu.cfs_period_us");
    if (!(quota_file >> quota) || !(period_file >> period)) return std::nullopt;
  }
  if (quota <= 0 || period <= 0) return std::nullopt;  // -1: no limit
  return quota / period;
}

// From the process's own group up to the one that is mounted.
std::optional<double> least_quota(const fs::path& root, const Hierarchy& hierarchy, const fs::path& group) {
  fs::path below = group.lexically_relative(hierarchy.mounted_group);
  const bool is_visible = !below.empty() && *below.begin() != "..";
  if (!is_visible || below == ".") below.clear();
  std::optional<double> least;
  while (true) {
    const auto quota = quota_of_group(root / hierarchy.mount_point.relative_path() / below, hierarchy.is_v2);
    if (quota) least = std::min(least.value_or(*quota), *quota);
    if (below.empty()) return least;
    below = below.parent_path();
  }
}

}  // namespace

std::optional<double> cpu_quota(const fs::path& root) {
  std::optional<double> least;
  std::ifstream mounts(root / "proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const auto hierarchy = parse_mount(line);
    if (!hierarchy) continue;
    const auto group = group_of_process(root, hierarchy->is_v2);
    const auto quota = least_quota(root, *hierarchy, group.value_or("/"));
    if (quota) least = std::min(least.value_or(*quota), *quota);
  }
  return least;
}

}  // namespace sinkstream
