// Work in order, done late: when somebody waits for it, or at some later call.
#pragma once

#include <concepts>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sinkstream::kernels::cuda::emulation {

struct Work {
  template <std::invocable Run>
  Work(Run its_run, bool for_peers = false) : run(std::move(its_run)), waits_for_peers(for_peers) {}

  std::function<void()> run;
  bool waits_for_peers;  // for work of other streams, so it goes on although nobody waits for it
};

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

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
  // Whether there is some that a thread may do that has other things to do.
  bool has_short_work() const { return !queue_.empty() && !working_ && !queue_.front().waits_for_peers; }
  void do_next(std::unique_lock<std::mutex>& lock);
  void do_what_peers_wait_for();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> queue_;
  std::uint64_t added_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t waiting_for_peers_ = 0;  // of the queue
  bool working_ = false;                 // some thread does what stands first
  std::optional<std::string> failure_;
  std::optional<std::vector<Work>> captured_;
  bool capture_spoiled_ = false;
  std::minstd_rand random_;
  bool ending_ = false;
  std::thread for_peers_;  // from the first such work on
};

}  // namespace sinkstream::kernels::cuda::emulation
