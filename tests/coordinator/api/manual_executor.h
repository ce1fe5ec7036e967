// An executor whose tasks run, and whose time passes, when the test says so.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "coordinator/http/executor.h"

namespace sinkstream::testing {

class ManualExecutor final : public Executor {
 public:
  void post(std::function<void()> task) override {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  void offload(std::function<void()> task) override { post(std::move(task)); }
  void offload_long(std::function<void()> task) override { post(std::move(task)); }
  TimePoint now() const override {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  void post_at(TimePoint time, std::function<void()> task) override {
    const std::lock_guard lock(mutex_);
    timers_.emplace(time, std::move(task));
  }

  std::size_t num_tasks() const {
    const std::lock_guard lock(mutex_);
    return tasks_.size();
  }
  // Those that have been posted so far.
  void run() {
    std::vector<std::function<void()>> tasks;
    {
      const std::lock_guard lock(mutex_);
      tasks.swap(tasks_);
    }
    for (const auto& task : tasks) task();
  }
  // Those that they post, too.
  void run_all() {
    while (num_tasks() > 0) run();
  }
  std::size_t num_timers() const {
    const std::lock_guard lock(mutex_);
    return timers_.size();
  }
  void pass(std::chrono::steady_clock::duration time) {
    {
      const std::lock_guard lock(mutex_);
      now_ += time;
      const auto due = timers_.upper_bound(now_);
      for (auto timer = timers_.begin(); timer != due; ++timer) tasks_.push_back(std::move(timer->second));
      timers_.erase(timers_.begin(), due);
    }
    run_all();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::function<void()>> tasks_;
  std::multimap<TimePoint, std::function<void()>> timers_;
  TimePoint now_{std::chrono::hours(1)};
};

}  // namespace sinkstream::testing
