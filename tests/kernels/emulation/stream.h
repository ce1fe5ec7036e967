// Work in order, done late: when somebody waits for it, or at some later call.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace sinkstream::kernels::cuda::emulation {

using Work = std::function<void()>;

class Stream {
 public:
  Stream();

  // Queues it, or records it while the stream is captured. Some of what was queued may be done now.
  void add(Work work);

  // How much was queued.
  std::uint64_t added() const;
  // Returns when the first `count` that were queued are done, on this thread or another.
  void wait(std::uint64_t count);
  void wait_for_all() { wait(added()); }
  // Are the first `count` done? Does some before: who asks again and again comes to an end.
  bool ask(std::uint64_t count);
  // Once work has failed no other is begun.
  std::optional<std::string> failure() const;

  bool capturing() const;
  void begin_capture();
  std::vector<Work> end_capture();
  // Something was tried that can't be captured.
  void spoil_capture();
  bool capture_spoiled() const;

 private:
  void do_next(std::unique_lock<std::mutex>& lock);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> queue_;
  std::uint64_t added_ = 0;
  std::uint64_t done_ = 0;
  bool working_ = false;  // some thread does what stands first
  std::optional<std::string> failure_;
  std::optional<std::vector<Work>> captured_;
  bool capture_spoiled_ = false;
  std::minstd_rand random_;
};

}  // namespace sinkstream::kernels::cuda::emulation
