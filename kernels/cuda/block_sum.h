// Sums over a block's threads in one fixed order.
#pragma once

#include "kernels/cuda/simt.h"

namespace sinkstream::kernels::cuda {

// Every lane gets the sum over its warp.
__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int step = kWarpSize / 2; step > 0; step /= 2) value += __shfl_xor_sync(kWholeWarp, value, step);
  return value;
}

// Every thread gets the sum of all `value`s: lanes first, then warps. For blocks of whole warps, at most 32
// of them; called by all threads.
__device__ inline float block_sum(float value) {
  __shared__ float of_warp[kWarpSize];
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const float sum = warp_sum(value);
  __syncthreads();  // nobody still reads what an earlier sum left
  if (lane == 0) of_warp[warp] = sum;
  __syncthreads();
  const int warps = static_cast<int>(blockDim.x) / kWarpSize;
  return warp_sum(lane < warps ? of_warp[lane] : 0.0f);
}

}  // namespace sinkstream::kernels::cuda
