// What a block's threads come to together, in one fixed order: lanes first, then warps. For blocks of whole
// warps, at most 32 of them; called by all threads, and all get the result.
#pragma once

#include "kernels/candidates.h"
#include "kernels/cuda/warp.h"

namespace sinkstream::kernels::cuda {

template <typename T, typename Combine>
__device__ T reduce_block(T value, const Combine& combine) {
  __shared__ T of_warp[kWarpSize];
  value = reduce_warp(value, combine);
  __syncthreads();  // nobody still reads what an earlier call left
  if (lane_id() == 0) of_warp[warp_id()] = value;
  __syncthreads();
  T result = of_warp[0];
  for (int w = 1; w < warps_of_block(); ++w) result = combine(result, of_warp[w]);
  return result;
}

// NaN loses.
struct Largest {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// The one that stands before all others; its raw logit is not kept.
__device__ inline Candidate best_of_block(Candidate mine) {
  __shared__ double scores[kWarpSize];
  __shared__ TokenId tokens[kWarpSize];
  for (int step = kWarpSize / 2; step > 0; step /= 2) {
    Candidate other;
    other.score = __shfl_xor_sync(kWholeWarp, mine.score, step);
    other.token = __shfl_xor_sync(kWholeWarp, mine.token, step);
    if (ahead(other, mine)) mine = other;
  }
  __syncthreads();
  if (lane_id() == 0) {
    scores[warp_id()] = mine.score;
    tokens[warp_id()] = mine.token;
  }
  __syncthreads();
  for (int w = 0; w < warps_of_block(); ++w) {
    const Candidate other{.token = tokens[w], .score = scores[w]};
    if (ahead(other, mine)) mine = other;
  }
  return mine;
}

}  // namespace sinkstream::kernels::cuda
