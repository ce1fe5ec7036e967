#include "parallel/host/end_process.h"

#include <unistd.h>

#include "parallel/host/shared_segments.h"

namespace sinkstream {

void print_last_words(const std::string& message) {
  const std::string line = "sinkstream: " + message + "\n";
  // Nothing can be done where standard error is gone.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

void end_process() {
  remove_shared_segments();
  ::_exit(kLostGroupExitCode);
}

}  // namespace sinkstream
