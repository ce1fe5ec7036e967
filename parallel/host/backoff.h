// How a rank waits for others without keeping a core busy.
#pragma once

#include <chrono>

namespace sinkstream {

// Between two looks at whatever is waited for: at first nothing, so that a short wait costs no switch; then a
// yield, so that ranks which share a core take turns; after a millisecond sleeps of an eighth of the wait so
// far, up to 5 ms within the first second and slowly more after it, but none longer than `longest_sleep`.
class Backoff {
 public:
  explicit Backoff(std::chrono::microseconds longest_sleep) : longest_sleep_(longest_sleep) {}
  void pause();

 private:
  const std::chrono::microseconds longest_sleep_;
  int pauses_ = 0;
  std::chrono::steady_clock::time_point start_{};
};

}  // namespace sinkstream
