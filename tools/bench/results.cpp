#include "tools/bench/results.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace sinkstream::bench {

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + std::ssize(values) / 2);
  return values[values.size() / 2];
}

void write_json(const std::string& name, const nlohmann::json& result) {
  if (name.empty()) return;
  std::ofstream file(name);
  file << result.dump(1) << '\n';
  file.close();
  if (!file) throw StartupError(ExitCode::config, name + ": could not be written");
}

}  // namespace sinkstream::bench
