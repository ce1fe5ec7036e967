#include "parallel/host/shared_segments.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>

namespace sinkstream {
namespace {

constexpr std::string_view kDirectory = "/dev/shm/";
constexpr std::string_view kDeleted = " (deleted)";

// OpenMPI 4 calls its transport vader, OpenMPI 5 sm.
bool is_segment(std::string_view path) {
  if (!path.starts_with(kDirectory) || path.ends_with(kDeleted)) return false;
  path.remove_prefix(kDirectory.size());
  return path.starts_with("vader_segment.") || path.starts_with("sm_segment.");
}

}  // namespace

std::vector<std::string> shared_segments(std::string_view maps) {
  std::vector<std::string> found;
  while (!maps.empty()) {
    const std::string_view line = maps.substr(0, maps.find('\n'));
    maps.remove_prefix(std::min(maps.size(), line.size() + 1));
    const std::size_t path = line.find('/');  // the columns before it hold none
    if (path == std::string_view::npos || !is_segment(line.substr(path))) continue;
    found.emplace_back(line.substr(path));
  }
  std::ranges::sort(found);
  found.erase(std::unique(found.begin(), found.end()), found.end());  // Clang 14 cannot compile ranges::unique
  return found;
}

void remove_shared_segments() {
  std::ifstream file("/proc/self/maps");
  const std::string maps(std::istreambuf_iterator<char>(file), {});
  for (const std::string& path : shared_segments(maps)) ::unlink(path.c_str());
}

}  // namespace sinkstream
