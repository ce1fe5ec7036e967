// Sums over a block's threads in one fixed order.
#pragma once

#include "kernels/cuda/warp.h"

namespace sinkstream::kernels::cuda {

// Every thread gets the sum of all `value`s: lanes first, then warps. For blocks of whole warps, at most 32
// of them; called by all threads.
__device__ inline float block_sum(float value) {
  __shared__ float of_warp[kWarpSize];
  const float sum = reduce_warp(value, Sum());
  __syncthreads();  // nobody still reads what an earlier sum left
  if (lane_id() == 0) of_warp[warp_id()] = sum;
  __syncthreads();
  return reduce_warp(lane_id() < warps_of_block() ? of_warp[lane_id()] : 0.0f, Sum());
}

}  // namespace sinkstream::kernels::cuda
