// A thread's place in its grid and among its block's warps, and what a warp comes to together in one fixed
// order.
#pragma once

#include "kernels/cuda/simt.h"

namespace sinkstream::kernels::cuda {

// Of a grid by thread_each().
__device__ inline std::int64_t thread_of_grid() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ inline int lane_id() {
  return static_cast<int>(threadIdx.x) % kWarpSize;
}
__device__ inline int warp_id() {
  return static_cast<int>(threadIdx.x) / kWarpSize;
}
__device__ inline int warps_of_block() {
  return static_cast<int>(blockDim.x) / kWarpSize;
}

struct Sum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

// Every lane gets what all lanes' values combine to; called by the whole warp.
template <typename T, typename Combine>
__device__ T reduce_warp(T value, const Combine& combine) {
#pragma unroll
  for (int step = kWarpSize / 2; step > 0; step /= 2) {
    value = combine(value, __shfl_xor_sync(kWholeWarp, value, step));
  }
  return value;
}

}  // namespace sinkstream::kernels::cuda
