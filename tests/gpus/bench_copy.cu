// The device's own copy bandwidth, by which kernels are measured: bytes read plus bytes written of a copy far larger than
// the cache, the median of several.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "kernels/cuda/simt.h"

int main() {
  using sinkstream::kernels::cuda::check;
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
  std::printf("copy of 4 GiB: %.0f GB/s, read and written\n", 2.0 * kBytes / times[4] / 1e6);
  return 0;
}
