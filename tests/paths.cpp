#include "tests/paths.h"

#include <cstdlib>

namespace sinkstream {

std::filesystem::path project_dir() {
  const char* const moved = std::getenv("SINKSTREAM_TEST_PROJECT");  // where a test runs far from where it was built
  return moved != nullptr ? moved : PROJECT_DIR;
}

std::filesystem::path test_data_dir() { return project_dir() / "tests" / "data"; }

}  // namespace sinkstream
