// Where a test finds what the project holds.
#pragma once

#include <filesystem>

namespace sinkstream {

std::filesystem::path project_dir();    // the source tree
std::filesystem::path test_data_dir();  // tests/data

}  // namespace sinkstream
