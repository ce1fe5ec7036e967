// Sums over a block's threads in one fixed order.
#pragma once

#include "kernels/cuda/simt.h"

namespace sinkstream::kernels::cuda {

// Every thread gets the sum of all `value`s: lanes first, then warps. For blocks of whole warps, at most 32
// of them; called by all threads.
__device__ inline float block_sum(float value) {
  __shared__ float of_warp[kWarpSize];
  for (int step = kWarpSize / 2; step > 0; step /= 2) value += __shfl_xor_sync(kWholeWarp, value, step);
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  __syncthreads();  // nobody still reads what an earlier sum left
  if (lane == 0) of_warp[warp] = value;
  __syncthreads();
  const int warps = static_cast<int>(blockDim.x) / kWarpSize;
  float sum = 0;
  for (int w = 0; w < warps; ++w) sum += of_warp[w];
  return sum;
}

}  // namespace sinkstream::kernels::cuda
