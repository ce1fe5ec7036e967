// Where work runs: one I/O thread, which must never wait or compute for long, and a few threads for the rest.
#pragma once

#include <functional>

namespace sinkstream {

class Executor {
 public:
  virtual ~Executor() = default;
  virtual void post(std::function<void()> task) = 0;     // on the I/O thread, in order
  virtual void offload(std::function<void()> task) = 0;  // parsing, tokenizing, building large answers
};

}  // namespace sinkstream
