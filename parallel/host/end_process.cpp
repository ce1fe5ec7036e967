#include "parallel/host/end_process.h"

#include <unistd.h>

#include "base/error.h"
#include "parallel/host/shared_segments.h"

namespace sinkstream {

void print_final_message(const std::string& message) {
  const std::string line = "sinkstream: " + message + "\n";
  // Nothing can be done where standard error is gone.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

void end_process() {
  remove_shared_segments();
  ::_exit(static_cast<int>(ExitCode::lost_rank));
}

}  // namespace sinkstream
