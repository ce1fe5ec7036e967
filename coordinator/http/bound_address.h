// An address that is ours before anybody listens there: a taken one is found before a model is loaded, and a
// client that comes early is refused at once instead of waiting.
#pragma once

#include <memory>
#include <string>

#include "coordinator/http/server_settings.h"

namespace sinkstream {

class BoundAddress {
 public:
  // Binds settings.listen. Throws StartupError: no address (ExitCode::config), or not to be had
  // (ExitCode::bind).
  explicit BoundAddress(const ServerSettings& settings);
  ~BoundAddress();
  BoundAddress(BoundAddress&&) noexcept;
  BoundAddress& operator=(BoundAddress&&) noexcept;

  struct State;
  State& state() { return *state_; }  // for the server, which listens there

 private:
  std::unique_ptr<State> state_;
};

// Why an address is not to be had, and what to do. `error` is an errno.
std::string listen_problem(const std::string& listen, int error);

}  // namespace sinkstream
