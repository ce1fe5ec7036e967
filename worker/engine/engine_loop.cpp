#include "worker/engine/engine_loop.h"

#include <utility>

#include "base/durations.h"

namespace sinkstream {
namespace {

// How often a group whose readers are all behind looks whether one has caught up.
constexpr std::chrono::milliseconds kPausedPoll{5};

}  // namespace

EngineLoop::EngineLoop(EngineLimits limits, SchedulerLimits scheduler_limits, StepRunner& runner,
                       Communicator& communicator, LoopEvents events,
                       std::function<std::vector<RankStatus>()> ranks)
    : limits_(std::move(limits)),
      runner_(runner),
      communicator_(communicator),
      events_(std::move(events)),
      ranks_(std::move(ranks)),
      known_free_(scheduler_limits.num_slots),
      scheduler_(std::move(scheduler_limits)) {}

SubmitResult EngineLoop::submit(std::vector<Submission> submissions) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return SubmitResult::ending;
  const std::int64_t would_wait = known_waiting_ + std::ssize(inbox_) + std::ssize(submissions) - known_free_;
  if (would_wait > limits_.max_queue) return SubmitResult::queue_full;
  std::move(submissions.begin(), submissions.end(), std::back_inserter(inbox_));
  wake_.notify_one();
  return SubmitResult::accepted;
}

void EngineLoop::cancel(const std::string& id) {
  const std::lock_guard lock(mutex_);
  cancelled_.push_back(id);
  wake_.notify_one();
}

void EngineLoop::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  wake_.notify_one();
}

EngineStats EngineLoop::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.waiting += std::ssize(inbox_);
  stats.ranks = ranks_();
  stats.seconds_since_step = step_begins_.empty() ? 0 : to_seconds(Clock::now() - step_begins_.front());
  return stats;
}

void EngineLoop::run() {
  while (wait_for_work()) {
    const auto plan = scheduler_.next();
    if (plan) launch(*plan);
    // The next step is launched before this one's tokens are seen, where the backend takes several.
    if (!runner_.idle() && (!plan || runner_.full())) {
      collect();
    } else if (!plan && scheduler_.all_paused()) {
      events_.idle();
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, kPausedPoll, [&] { return stopping_ || !inbox_.empty() || !cancelled_.empty(); });
    }
  }
  while (!runner_.idle()) collect();
  scheduler_.cancel_all(FinishReason::ending, "the server is shutting down");
  send_last_plan();
}

bool EngineLoop::wait_for_work() {
  std::vector<Submission> submissions;
  std::vector<std::string> cancelled;
  {
    std::unique_lock lock(mutex_);
    const auto has_news = [&] { return stopping_ || !inbox_.empty() || !cancelled_.empty(); };
    const bool busy = scheduler_.running() > 0 || scheduler_.waiting() > 0 || scheduler_.has_operations() ||
                      !runner_.idle();
    if (!busy && !has_news()) {
      events_.idle();
      wake_.wait(lock, has_news);
    }
    submissions = std::exchange(inbox_, {});
    cancelled = std::exchange(cancelled_, {});
    known_waiting_ = scheduler_.waiting() + static_cast<std::int32_t>(submissions.size());
  }
  for (auto& submission : submissions) take_in(std::move(submission));
  for (const auto& id : cancelled) scheduler_.cancel(id, FinishReason::cancelled);
  const std::lock_guard lock(mutex_);
  scheduler_.add_counts(stats_);
  return !stopping_;
}

void EngineLoop::take_in(Submission submission) {
  if (const auto reason = refusal(submission.request, runner_.limits())) {
    submission.listener->on_finish({FinishReason::failed, *reason, {}});
  } else {
    scheduler_.add(std::move(submission));
  }
}

void EngineLoop::launch(const StepPlan& plan) {
  {
    const std::lock_guard lock(mutex_);
    known_waiting_ = scheduler_.waiting();
    known_free_ = scheduler_.free_slots();
    step_begins_.push_back(Clock::now());
  }
  events_.step(plan.number);
  auto message = encode(plan);
  communicator_.broadcast(message);
  runner_.launch(plan);
}

void EngineLoop::collect() {
  scheduler_.commit(runner_.collect());

  const std::lock_guard lock(mutex_);
  known_waiting_ = scheduler_.waiting();
  known_free_ = scheduler_.free_slots();
  scheduler_.add_counts(stats_);
  const Clock::time_point now = Clock::now();
  stats_.steps.add(to_seconds(now - step_begins_.front()));
  step_begins_.pop_front();
  if (!step_begins_.empty()) step_begins_.front() = now;
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
    runner.launch(plan);
    if (runner.full()) runner.collect();
  }
  while (!runner.idle()) runner.collect();
}

}  // namespace sinkstream
