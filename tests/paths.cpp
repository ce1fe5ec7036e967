#include "tests/paths.h"

namespace sinkstream {

std::filesystem::path project_dir() { return PROJECT_DIR; }

std::filesystem::path test_data_dir() { return project_dir() / "tests" / "data"; }

}  // namespace sinkstream
