// A thread of control that one thread of the host runs piece by piece.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace sinkstream::kernels::cuda::emulation {

class Fiber {
 public:
  // `body` is what each run does. Fibers of different numbers have their frames on different lines of a
  // cache.
  Fiber(int number, std::function<void()> body);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Begins a run, or goes on with it; returns when it suspends itself or has come to its end.
  void resume();
  // Back to who resumed it. Only from its own body.
  void suspend();

 private:
  class Context;
  std::unique_ptr<Context> context_;
};

}  // namespace sinkstream::kernels::cuda::emulation
