// The device's own copy bandwidth, by which kernels are measured.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/cuda/simt.h"

namespace sinkstream::kernels::cuda {

// GB/s, bytes read plus bytes written, of a copy of 4 GiB, far more than a cache holds: the median of nine.
// It is made on a stream of its own, outside a graph, where copies are slower.
inline double copy_rate() {
  constexpr std::size_t kBytes = std::size_t{4} << 30;
  void *from = nullptr, *to = nullptr;
  check(cudaMalloc(&from, kBytes), "memory");
  check(cudaMalloc(&to, kBytes), "memory");
  check(cudaMemset(from, 1, kBytes), "memory");
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "an event");
  check(cudaEventCreate(&end), "an event");
  std::vector<float> times;
  for (int i = 0; i < 9; ++i) {
    check(cudaEventRecord(begin), "an event");
    check(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDeviceToDevice), "a copy");
    check(cudaEventRecord(end), "an event");
    check(cudaEventSynchronize(end), "a copy");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "a time");
    times.push_back(milliseconds);
  }
  std::sort(times.begin(), times.end());
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaFree(from);
  cudaFree(to);
  return 2.0 * static_cast<double>(kBytes) / static_cast<double>(times[4]) / 1e6;
}

}  // namespace sinkstream::kernels::cuda
