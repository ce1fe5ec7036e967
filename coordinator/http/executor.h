// Where work runs: one I/O thread, which must never wait or compute for long, and a few threads for the rest.
// Work that takes seconds has a thread of its own, so that short work never waits for it.
#pragma once

#include <chrono>
#include <functional>

namespace sinkstream {

class Executor {
 public:
  virtual ~Executor() = default;
  virtual void post(std::function<void()> task) = 0;          // on the I/O thread, in order
  virtual void offload(std::function<void()> task) = 0;       // parsing, tokenizing, building answers
  virtual void offload_long(std::function<void()> task) = 0;  // the same of megabytes; in order

  using TimePoint = std::chrono::steady_clock::time_point;
  virtual TimePoint now() const = 0;
  virtual void post_at(TimePoint time, std::function<void()> task) = 0;  // on the I/O thread, not before
};

}  // namespace sinkstream
