// The engine: on the leader a loop that schedules and launches steps and commits what they chose; on the
// other ranks a loop that applies the leader's plans.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "parallel/communicator/communicator.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/step_runner.h"

namespace sinkstream {

// Told on a loop's thread what it is about to do, for whoever watches over it.
struct LoopEvents {
  std::function<void()> idle = [] {};                              // wait for work, which may last for ever
  std::function<void(std::uint64_t)> step = [](std::uint64_t) {};  // begin the step of this number
};

class EngineLoop final : public Engine {
 public:
  // `ranks` says how the ranks are, on any thread.
  EngineLoop(
      EngineLimits limits, SchedulerLimits scheduler_limits, StepRunner& runner, Communicator& communicator,
      LoopEvents events = {},
      std::function<std::vector<RankStatus>()> ranks = [] { return std::vector<RankStatus>(); });

  // Runs on the leader's main thread until stop(). Collective with follow() on the other ranks.
  void run();
  // Any thread: refuses new requests, cancels what runs, ends the group in good order.
  void stop();

  const EngineLimits& limits() const override { return limits_; }
  void connect(std::shared_ptr<EventSink> sink) override;
  void send(Command command) override;
  EngineStats stats() const override;

 private:
  using Clock = std::chrono::steady_clock;

  struct Received {
    Command command;
    Clock::time_point at;
  };

  // What can be said of a command without the scheduler; with the mutex.
  std::optional<Refused> refusal_of(const Command& command, const std::optional<std::string>& invalid) const;
  void tell(Event event);
  void serve();
  bool take_commands();  // waits for one where nothing else is left to do; false: stop
  void launch(const StepPlan& plan);
  void collect();     // the oldest step under way
  double end_step();  // how long it took
  void note_counts();
  void send_last_plan();

  const EngineLimits limits_;
  StepRunner& runner_;
  Communicator& communicator_;
  LoopEvents events_;
  std::function<std::vector<RankStatus>()> ranks_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::shared_ptr<EventSink> sink_;
  std::vector<Received> inbox_;
  std::int32_t inbox_choices_ = 0;  // those in the inbox that will want a slot
  bool stopping_ = false;
  EngineStats stats_;            // the scheduler's last counts, and whoever waits since
  std::int32_t known_free_ = 0;  // slots, as of the last counts
  // Of the steps under way, oldest first. A step begins when it is launched, but not before the one ahead of
  // it has ended: the device takes them one after the other.
  std::deque<Clock::time_point> step_begins_;

  // The loop's thread only.
  Scheduler scheduler_;
  bool has_work_ = true;  // something may be done before a command comes
};

// Applies the leader's plans until its last one. For ranks other than the leader.
void follow(Communicator& communicator, StepRunner& runner, const PlanLimits& limits,
            const LoopEvents& events = {});

}  // namespace sinkstream
