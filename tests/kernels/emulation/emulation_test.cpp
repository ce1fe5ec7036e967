// That the emulation does what CUDA does, and finds what breaks its rules.
#include <gmock/gmock.h>

#include <cstring>
#include <vector>

#include "kernels/cuda/ptx.h"
#include "kernels/cuda/simt.h"
#include "tests/kernels/emulation/control.h"

namespace sinkstream::kernels::cuda {
namespace {

using testing::HasSubstr;

class Emulation : public testing::Test {
 protected:
  void SetUp() override { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream"); }
  void TearDown() override { cudaStreamDestroy(stream_); }

  cudaStream_t stream_ = nullptr;
};

template <typename T>
struct OnGpu {
  explicit OnGpu(std::size_t count) : size(count) { check(cudaMalloc(&data, count * sizeof(T)), "memory"); }
  explicit OnGpu(const std::vector<T>& values) : OnGpu(values.size()) {
    check(cudaMemcpy(data, values.data(), size * sizeof(T), cudaMemcpyHostToDevice), "a copy");
  }
  ~OnGpu() { cudaFree(data); }

  std::vector<T> read(cudaStream_t stream) const {
    std::vector<T> values(size);
    check(cudaMemcpyAsync(values.data(), data, size * sizeof(T), cudaMemcpyDeviceToHost, stream), "a copy");
    return values;
  }

  T* data = nullptr;
  std::size_t size;
};

__global__ void sum_blocks(const float* values, float* sums) {
  __shared__ float partial[32];
  float* const all = dynamic_shared<float>();
  all[threadIdx.x] = values[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  float sum = all[blockDim.x - 1 - threadIdx.x];
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(kWholeWarp, sum, distance);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0;
    for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) total += partial[warp];
    sums[blockIdx.x] = total;
  }
}

TEST_F(Emulation, ThreadsOfABlockWorkTogether) {
  std::vector<float> values(64 * 256);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 7);
  const OnGpu<float> in(values);
  const OnGpu<float> out(64);
  for (int schedule = 0; schedule < 6; ++schedule) {
    launch(sum_blocks, {64, 256, 256 * sizeof(float)}, stream_, in.data, out.data);
    const std::vector<float> sums = out.read(stream_);
    for (std::size_t block = 0; block < sums.size(); ++block) {
      float expected = 0;
      for (std::size_t i = 0; i < 256; ++i) expected += values[block * 256 + i];
      EXPECT_EQ(sums[block], expected);
    }
  }
}

}  // namespace
}  // namespace sinkstream::kernels::cuda
