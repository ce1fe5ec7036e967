// A fixed set of threads that work on one loop at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace sinkstream::kernels {

class ThreadPool {
 public:
  // `threads` >= 1 counts the calling thread, so 1 starts none. Throws StartupError (ExitCode::device) where
  // the system starts no more.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  // Calls body(begin, end) on disjoint ranges that cover [0, count), at most one per thread, each a multiple
  // of `grain` long but for the last, and returns when all are done. Not reentrant; one caller at a time. An
  // exception from body is rethrown here (the first by range).
  void parallel_for(std::int64_t count, std::int64_t grain,
                    const std::function<void(std::int64_t, std::int64_t)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sinkstream::kernels
