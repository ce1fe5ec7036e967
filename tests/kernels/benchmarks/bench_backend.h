// What the benchmarks of operations share.
#pragma once

#include <benchmark/benchmark.h>

#include "kernels/backend.h"
#include "tests/kernels/on_device.h"

namespace sinkstream::kernels {

// The one that main() was asked for.
Backend& bench_backend();

// TinyLlama's sizes (1.1 billion weights). One of its larger weights in bf16 is 23 MB; read over and over it
// may stay in a large cache, so rates above what memory gives are those of the cache.
inline constexpr std::int64_t kHidden = 2048;
inline constexpr std::int64_t kFeedForward = 5632;
inline constexpr std::int64_t kVocabulary = 32'000;

// What one call reads and writes, and how much it computes.
struct Work {
  double bytes = 0;
  double operations = 0;  // a multiplication and an addition are two
};

// Times `operation`, which queues one call, and shows its bytes and operations a second.
template <class Operation>
void time_calls(benchmark::State& state, const Work& work, const Operation& operation) {
  operation();  // takes what memory it needs
  wait_for_all(bench_backend());
  for (auto step : state) {
    operation();
    wait_for_all(bench_backend());
  }
  const auto rate = [](double each) {
    return benchmark::Counter(each, benchmark::Counter::kIsIterationInvariantRate);
  };
  if (work.bytes > 0) state.counters["bytes/s"] = rate(work.bytes);
  if (work.operations > 0) state.counters["operations/s"] = rate(work.operations);
}

inline double bytes_of(ConstMatrix matrix) {
  return static_cast<double>(matrix.rows * matrix.cols) * sizeof(float);
}

}  // namespace sinkstream::kernels
