// Notices dead and stuck ranks. Each rank runs a watchdog thread of its own that talks to the leader's over
// loopback or TCP, independent of the communicator; so a rank that hangs, is stopped or is killed ends the
// group in bounded time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/communicator/communicator.h"
#include "parallel/start/local_ranks.h"
#include "parallel/watch/rank_status.h"

namespace sinkstream {

struct LivenessSettings {
  std::chrono::milliseconds stuck_after{10000};  // parallel.stuck_seconds
  std::chrono::milliseconds heartbeat{250};
};

class Liveness {
 public:
  // Called once, on the watchdog thread, when the group is lost; `message` names the rank and what happened.
  // One rank has written it to standard error already. The process ends with exit code 5 soon after this
  // returns, or after one second at the latest.
  using OnLost = std::function<void(const std::string& message)>;

  // Collective: connects every rank to the leader. Throws std::runtime_error on every rank when one cannot
  // connect.
  Liveness(Communicator& communicator, const LocalRanks& local, const LivenessSettings& settings,
           OnLost on_lost);
  // Ends the watch in good order: the others do not take this rank for dead, unless an exception is in
  // flight.
  ~Liveness();
  Liveness(const Liveness&) = delete;
  Liveness& operator=(const Liveness&) = delete;

  // The main thread says what it is doing. Working without a further call for `stuck_after` means stuck, but
  // for time in which the host had no CPU for this process.
  // Waiting for other ranks may last, unless all ranks do so for `stuck_after`. Idle, as a rank begins, may
  // last for ever.
  void working(const char* what, std::uint64_t step);  // `what`: a string literal
  void waiting(const char* what, std::uint64_t step);
  void idle();

  // Any thread. The leader's: the whole group as of the last heartbeat; a group that has just met may be
  // missing. Elsewhere: nothing.
  std::vector<RankStatus> ranks() const;

  // Any thread. Ends the group: tells all ranks, then as for a lost group.
  void fail(const std::string& message);

  // Asks the leader to end in good order (a SIGTERM that reached another rank); on the leader calls the
  // handler.
  void request_drain();
  void on_drain_requested(std::function<void()> handler);  // called on the watchdog thread

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sinkstream
