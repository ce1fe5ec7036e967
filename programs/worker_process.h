// One rank from start to end.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace sinkstream {

struct WorkerOptions {
  std::optional<std::string> model;    // a directory
  std::optional<std::string> config;   // a file; at least one of the two
  std::vector<std::string> overrides;  // section.key=value
};

// Loads, serves until asked to end, and returns the exit code. Run by every rank of the group.
int run_worker(const WorkerOptions& options);

}  // namespace sinkstream
