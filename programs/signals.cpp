#include "programs/signals.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <thread>

#include "base/error.h"

namespace sinkstream {

struct SignalWatch::State {
  int signals = -1;  // signalfd
  int stop = -1;     // eventfd
  std::thread thread;
};

namespace {

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGUSR1);
  return set;
}

void watch(int signals, int stop, const SignalHandlers& handlers) {
  bool draining = false;
  while (true) {
    pollfd polled[] = {{signals, POLLIN, 0}, {stop, POLLIN, 0}};
    if (poll(polled, 2, -1) < 0) continue;  // EINTR
    if (polled[1].revents) return;
    signalfd_siginfo info{};
    if (read(signals, &info, sizeof info) != sizeof info) continue;
    const bool from_launcher = handlers.on_abort_by_launcher && info.ssi_signo == SIGTERM &&
                               static_cast<pid_t>(info.ssi_pid) == getppid();
    if (from_launcher) {
      handlers.on_abort_by_launcher();
    } else if (draining) {
      _exit(static_cast<int>(ExitCode::interrupted));
    } else {
      draining = true;
      handlers.on_drain();
    }
  }
}

}  // namespace

void block_signals() {
  const sigset_t set = watched_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);  // a closed log pipe or socket is an error code, not the end
}

SignalWatch::SignalWatch(SignalHandlers handlers) : state_(std::make_unique<State>()) {
  const sigset_t set = watched_signals();
  state_->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  state_->stop = eventfd(0, EFD_CLOEXEC);
  if (state_->signals < 0 || state_->stop < 0) {
    throw StartupError(ExitCode::internal, "cannot watch signals: no file descriptors left (see ulimit -n)");
  }
  state_->thread = std::thread([signals = state_->signals, stop = state_->stop,
                                handlers = std::move(handlers)] { watch(signals, stop, handlers); });
}

SignalWatch::~SignalWatch() {
  eventfd_write(state_->stop, 1);
  state_->thread.join();
  close(state_->signals);
  close(state_->stop);
}

}  // namespace sinkstream
