// Work that a thread of its own does in order and late: not before a small random time has passed or somebody
// waits. Not only then, because a device goes on by itself: another rank may wait for what nobody waits for
// here.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

namespace sinkstream::kernels {

class LateWork {
 public:
  LateWork();
  // Returns when all is done.
  ~LateWork();
  LateWork(const LateWork&) = delete;
  LateWork& operator=(const LateWork&) = delete;

  void add(std::function<void()> work);
  // How much has been added.
  std::uint64_t added() const;
  // Returns when the first `count` that were added are done. Once one has failed no other is begun, and every
  // wait rethrows the failure.
  void wait(std::uint64_t count);

 private:
  void run();
  void let_some_time_pass(std::unique_lock<std::mutex>& lock);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> work_;
  std::uint64_t added_ = 0;
  std::uint64_t done_ = 0;
  int waiting_ = 0;
  bool ending_ = false;
  std::exception_ptr failure_;
  std::minstd_rand random_{1};
  std::thread thread_;
};

}  // namespace sinkstream::kernels
