// The CPU time that control groups (containers, services) allow, which is less than the CPUs they show.
#pragma once

#include <filesystem>
#include <optional>

namespace sinkstream {

// In CPUs, e.g. 2.5: the least of this process's control group and those around it, of either version.
// Nothing where there is no limit. `root`: where /proc and the mounts are found; tests make their own.
std::optional<double> cpu_quota(const std::filesystem::path& root = "/");

}  // namespace sinkstream
