#include "tests/kernels/awkward/late_work.h"

#include <chrono>
#include <utility>

namespace sinkstream::kernels {
namespace {

std::exception_ptr failure_of(const std::function<void()>& work) {
  try {
    work();
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace

LateWork::LateWork() : thread_([this] { run(); }) {}

LateWork::~LateWork() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void LateWork::add(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    work_.push_back(std::move(work));
    ++added_;
  }
  changed_.notify_all();
}

std::uint64_t LateWork::added() const {
  const std::lock_guard lock(mutex_);
  return added_;
}

void LateWork::wait(std::uint64_t count) {
  std::unique_lock lock(mutex_);
  ++waiting_;
  changed_.notify_all();
  changed_.wait(lock, [&] { return done_ >= count; });
  --waiting_;
  if (failure_) std::rethrow_exception(failure_);
}

void LateWork::let_some_time_pass(std::unique_lock<std::mutex>& lock) {
  const std::chrono::microseconds time(random_() % 200);
  changed_.wait_for(lock, time, [&] { return waiting_ > 0 || ending_; });
}

void LateWork::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return !work_.empty() || ending_; });
    if (work_.empty()) return;
    let_some_time_pass(lock);
    const std::function<void()> work = std::move(work_.front());
    work_.pop_front();
    if (!failure_) {
      lock.unlock();
      const std::exception_ptr failure = failure_of(work);
      lock.lock();
      failure_ = failure;
    }
    ++done_;
    changed_.notify_all();
  }
}

}  // namespace sinkstream::kernels
