#include "tests/kernels/emulation/stream.h"

#include <exception>
#include <utility>

namespace sinkstream::kernels::cuda::emulation {
namespace {

std::optional<std::string> failure_of(const Work& work) {
  try {
    work.run();
    return std::nullopt;
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace

Stream::Stream() : random_(1) {}

Stream::~Stream() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (for_peers_.joinable()) for_peers_.join();
}

void Stream::add(Work work) {
  std::unique_lock lock(mutex_);
  if (captured_) {
    captured_->push_back(std::move(work));
    return;
  }
  if (work.waits_for_peers) {
    ++waiting_for_peers_;
    if (!for_peers_.joinable()) for_peers_ = std::thread([this] { do_what_peers_wait_for(); });
    changed_.notify_all();
  }
  queue_.push_back(std::move(work));
  ++added_;
  for (auto count = random_() % 8; count >= 5 && has_short_work(); --count) do_next(lock);
}

std::uint64_t Stream::added() const {
  const std::lock_guard lock(mutex_);
  return added_;
}

void Stream::wait(std::uint64_t count) {
  std::unique_lock lock(mutex_);
  while (done_ < count) {
    if (has_short_work()) {
      do_next(lock);
    } else {
      changed_.wait(lock);
    }
  }
}

bool Stream::ask(std::uint64_t count) {
  std::unique_lock lock(mutex_);
  for (auto some = random_() % 32; some > 0 && done_ < count && has_short_work(); --some) do_next(lock);
  return done_ >= count;
}

void Stream::do_next(std::unique_lock<std::mutex>& lock) {
  const Work work = std::move(queue_.front());
  queue_.pop_front();
  if (work.waits_for_peers) --waiting_for_peers_;
  if (!failure_) {
    working_ = true;
    lock.unlock();
    const std::optional<std::string> failure = failure_of(work);
    lock.lock();
    working_ = false;
    failure_ = failure;
  }
  ++done_;
  changed_.notify_all();
}

void Stream::do_what_peers_wait_for() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || (waiting_for_peers_ > 0 && !working_); });
    if (ending_) return;
    do_next(lock);
  }
}

std::optional<std::string> Stream::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

bool Stream::capturing() const {
  const std::lock_guard lock(mutex_);
  return captured_.has_value();
}

void Stream::begin_capture() {
  const std::lock_guard lock(mutex_);
  captured_.emplace();
  capture_spoiled_ = false;
}

std::vector<Work> Stream::end_capture() {
  const std::lock_guard lock(mutex_);
  std::vector<Work> captured = std::move(captured_).value_or(std::vector<Work>());
  captured_.reset();
  return captured;
}

void Stream::spoil_capture() {
  const std::lock_guard lock(mutex_);
  if (captured_) capture_spoiled_ = true;
}

bool Stream::capture_spoiled() const {
  const std::lock_guard lock(mutex_);
  return capture_spoiled_;
}

}  // namespace sinkstream::kernels::cuda::emulation
