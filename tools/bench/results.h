// What benches do with what they measured.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace sinkstream::bench {

// The upper one of an even number; there is at least one.
double median(std::vector<double> values);

// Nothing where `file` is empty. Throws StartupError (ExitCode::config) when it can't be written.
void write_json(const std::string& file, const nlohmann::json& result);

}  // namespace sinkstream::bench
