// Turns SIGTERM, SIGINT and SIGUSR1 into calls on a thread of its own.
#pragma once

#include <functional>
#include <memory>

namespace sinkstream {

struct SignalHandlers {
  std::function<void()> on_drain;  // the first signal: end in good order
  // SIGTERM sent by mpirun: another rank is gone, it ends us now. None: this process has no such launcher.
  std::function<void()> on_abort_by_launcher;
};

// Keeps the signals for a SignalWatch; call before any other thread starts, since threads inherit it. Those
// that come before there is a watch are kept too.
void block_signals();

// Delivers the signals as long as it lives. A second request to end ends the process at once
// (ExitCode::interrupted).
class SignalWatch {
 public:
  explicit SignalWatch(SignalHandlers handlers);
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sinkstream
