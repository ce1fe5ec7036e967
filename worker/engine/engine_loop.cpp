#include "worker/engine/engine_loop.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "base/durations.h"
#include "worker/engine/operation_failures.h"

namespace sinkstream {

EngineLoop::EngineLoop(EngineLimits limits, SchedulerLimits scheduler_limits, StepRunner& runner,
                       Communicator& communicator, LoopEvents events,
                       std::function<std::vector<RankStatus>()> ranks)
    : limits_(std::move(limits)),
      runner_(runner),
      communicator_(communicator),
      events_(std::move(events)),
      ranks_(std::move(ranks)),
      known_free_(scheduler_limits.num_slots),
      scheduler_(std::move(scheduler_limits), [this](Event event) { tell(std::move(event)); }) {}

void EngineLoop::connect(std::shared_ptr<EventSink> sink) {
  const std::lock_guard lock(mutex_);
  sink_ = std::move(sink);
}

void EngineLoop::send(Command command) {
  const auto invalid = refusal(command, runner_.limits());
  const std::lock_guard lock(mutex_);
  // Answered at once, and not when the step under way is over; under the mutex, so that nothing of the
  // request can be told before.
  if (auto refused = refusal_of(command, invalid)) {
    if (!has_answer(command)) spdlog::warn("engine: a command is ignored: {}", refused->message);
    if (sink_ && has_answer(command)) sink_->on_event(*std::move(refused));
    return;
  }
  if (const auto* generate = std::get_if<Generate>(&command); generate && generate->session == kNoSession) {
    inbox_choices_ += num_choices(*generate);
    if (sink_) sink_->on_event(Accepted{generate->request});
  }
  inbox_.push_back({std::move(command), Clock::now()});
  wake_.notify_one();
}

std::optional<Refused> EngineLoop::refusal_of(const Command& command,
                                              const std::optional<std::string>& invalid) const {
  const auto refused = [&](RefusalReason reason, const std::string& message) {
    const auto request = std::visit([](const auto& c) { return c.request; }, command);
    return Refused{request, reason, message, {}};
  };
  if (stopping_ && has_answer(command)) return refused(RefusalReason::ending, "the engine is ending");
  if (invalid) return refused(RefusalReason::invalid, *invalid);
  const auto* const generate = std::get_if<Generate>(&command);
  if (!generate || generate->session != kNoSession) return std::nullopt;
  const std::int64_t would_wait =
      std::int64_t{stats_.waiting} + inbox_choices_ + num_choices(*generate) - known_free_;
  if (would_wait > limits_.max_queue) return refused(RefusalReason::queue_full, "the queue is full");
  return std::nullopt;
}

void EngineLoop::tell(Event event) {
  std::shared_ptr<EventSink> sink;
  {
    const std::lock_guard lock(mutex_);
    sink = sink_;
  }
  if (sink) sink->on_event(std::move(event));
}

void EngineLoop::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  wake_.notify_one();
}

EngineStats EngineLoop::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.waiting += inbox_choices_;
  stats.ranks = ranks_();
  stats.snapshot_bytes = runner_.snapshot_bytes();
  stats.seconds_since_step = step_begins_.empty() ? 0 : to_seconds(Clock::now() - step_begins_.front());
  return stats;
}

void EngineLoop::run() {
  try {
    serve();
  } catch (...) {
    stop();  // nobody is left to answer a command
    throw;
  }
}

void EngineLoop::serve() {
  while (take_commands()) {
    const auto plan = scheduler_.next();
    if (plan) launch(*plan);
    // The next step is launched before this one's tokens are seen, where the backend takes several.
    const bool collects = !runner_.idle() && (!plan || runner_.full());
    if (collects) collect();
    has_work_ = plan || collects;
  }
  while (!runner_.idle()) collect();
  scheduler_.end_all(FinishReason::ending, "the server is shutting down");
  send_last_plan();
}

bool EngineLoop::take_commands() {
  std::vector<Received> commands;
  bool is_last = false;  // nothing is taken in after a stop
  {
    std::unique_lock lock(mutex_);
    const auto has_news = [&] { return stopping_ || !inbox_.empty(); };
    if (!has_work_ && !has_news()) {
      events_.idle();
      if (const auto asks_at = scheduler_.asks_at()) {
        wake_.wait_until(lock, *asks_at, has_news);
      } else {
        wake_.wait(lock, has_news);
      }
    }
    commands = std::exchange(inbox_, {});
    is_last = stopping_;
    stats_.waiting += std::exchange(inbox_choices_, 0);  // so that nobody sees them in neither place
  }
  for (auto& [command, at] : commands) {
    if (auto* const generate = std::get_if<Generate>(&command)) {
      scheduler_.take(std::move(*generate), at);
    } else {
      std::visit(
          [&]<typename C>(const C& other) {
            if constexpr (!std::is_same_v<C, Generate>) scheduler_.take(other);
          },
          command);
    }
  }
  if (!commands.empty()) note_counts();
  return !is_last;
}

void EngineLoop::launch(const StepPlan& plan) {
  {
    const std::lock_guard lock(mutex_);
    step_begins_.push_back(Clock::now());
  }
  note_counts();
  events_.step(plan.number);
  auto message = encode(plan);
  communicator_.broadcast(message);
  const auto mine = runner_.launch(plan);
  if (plan.operations.empty()) return;
  const auto failures = gather_failures(communicator_, mine);
  for (const OperationFailure& failure : failures) {
    if (failure.unfinished) continue;
    spdlog::warn("step {}: a slot operation failed on {}", plan.number, failure.message);
  }
  scheduler_.note_launch(failures);
}

void EngineLoop::collect() {
  const auto choices = runner_.collect();
  scheduler_.note_seconds(end_step());
  scheduler_.commit(choices);
  note_counts();
}

double EngineLoop::end_step() {
  const std::lock_guard lock(mutex_);
  const Clock::time_point now = Clock::now();
  const double seconds = to_seconds(now - step_begins_.front());
  stats_.steps.add(seconds);
  step_begins_.pop_front();
  if (!step_begins_.empty()) step_begins_.front() = now;
  return seconds;
}

void EngineLoop::note_counts() {
  const std::lock_guard lock(mutex_);
  known_free_ = scheduler_.slots_to_be_had();
  scheduler_.add_counts(stats_);
}

void EngineLoop::send_last_plan() {
  StepPlan plan = scheduler_.next().value_or(StepPlan{});
  plan.last = true;
  auto message = encode(plan);
  communicator_.broadcast(message);
}

void follow(Communicator& communicator, StepRunner& runner, const PlanLimits& limits,
            const LoopEvents& events) {
  while (true) {
    std::vector<std::byte> message;
    events.idle();  // the leader may have nothing to do
    communicator.broadcast(message);
    const StepPlan plan = decode(message, limits);
    events.step(plan.number);
    if (plan.last) break;
    const auto failures = runner.launch(plan);
    if (!plan.operations.empty()) gather_failures(communicator, failures);
    if (runner.full()) runner.collect();
  }
  while (!runner.idle()) runner.collect();
}

}  // namespace sinkstream
