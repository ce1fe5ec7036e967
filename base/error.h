// Errors that end the process, with the exit code a supervisor can act on.
#pragma once

#include <stdexcept>
#include <string>

namespace sinkstream {

enum class ExitCode : int {
  ok = 0,
  internal = 1,       // our bug
  config = 2,         // command line or configuration
  model = 3,          // checkpoint, tokenizer or chat template
  device = 4,         // not enough memory, no such device
  lost_rank = 5,      // a rank died or got stuck, or the launcher did
  bind = 6,           // the address to listen on is not to be had
  interrupted = 130,  // a second signal
};

// A message says what is wrong, where, and what to do.
class StartupError : public std::runtime_error {
 public:
  StartupError(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

}  // namespace sinkstream
