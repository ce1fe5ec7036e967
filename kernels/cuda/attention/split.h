// One split of one row for itself, as a block of kSplitThreads attends to it: a warp has a tile of its keys,
// then 16 dimensions of its values.
#pragma once

#include "kernels/cuda/attention/task.h"

namespace sinkstream::kernels::cuda {

inline constexpr int kSplitWarps = kTilesPerSplit;
inline constexpr int kSplitThreads = kSplitWarps * kWarpSize;

constexpr int smaller(int a, int b) {
  return a < b ? a : b;
}
constexpr int larger(int a, int b) {
  return a < b ? b : a;
}

// A block's shared memory.
struct SplitExchange {
  float highest[kTilesPerSplit][kColumns];
  float shrink[kTilesPerSplit][kColumns];
  float sum[kTilesPerSplit][kColumns];
};

inline constexpr int kWeightVectors =
    kTilesPerSplit * 2 * kOperandVectors;  // uint4: of a split, 16 keys after the other

// One row's split, and where its result goes.
struct SplitTask {
  NearReach reach;  // counted from its first position
  Stretch stretch;
  int first_new;  // from here on, counted likewise, keys and values may be this step's; others are there
  Ring ring;
  const float* queries;  // [heads, head_dim]
  const float* slopes;   // [heads] or none
  int heads;
  float scale;
  const SplitResults* results;
  std::int64_t result;  // among them, of the first head

  __device__ bool has_new() const { return stretch.end > first_new; }
};

// A warp takes its tile from scores to weights: `scores` are the products of keys and queries. Leaves
// `weights` and `exchange` for everybody.
__device__ inline void weigh_split(const SplitTask& task, TileScores& scores, SplitExchange& exchange,
                                   uint4* weights) {
  const int g = lane_id() / 4;
  const int t = lane_id() % 4;
  const int tile = warp_id();
  float highest[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (8 * h >= task.heads) break;
    const int head = g + 8 * h;
    const float slope =
        task.slopes == nullptr || head >= task.heads ? 0.0f : __fmul_rn(task.slopes[head], kLog2OfE);
    finish_scores(scores, h, task.reach.from(tile * kTileKeys), task.scale, slope);
    highest[h] = highest_score(scores, h);
    if (t == 0) exchange.highest[tile][head] = highest[h];
  }
  __syncthreads();  // from here on nobody reads queries, in whose place weights are written
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (8 * h >= task.heads) break;  // scores of no head are zero, and so are their weights
    const int head = g + 8 * h;
    float before = lowest();
    for (int earlier = 0; earlier < tile; ++earlier) before = fmaxf(before, exchange.highest[earlier][head]);
    highest[h] = fmaxf(before, highest[h]);
    const float sum = weigh(scores, h, highest[h]);
    if (t == 0) {
      exchange.shrink[tile][head] = shrinking(before, highest[h]);
      exchange.sum[tile][head] = sum;
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    store_operand(weights_operand(scores, half), weights + (2 * tile + half) * kOperandVectors, lane_id());
  }
  __syncthreads();
}

// The split's highest score and sum of weights; a thread a head.
__device__ inline void write_softmax(const SplitTask& task, const SplitExchange& exchange) {
  const int head = static_cast<int>(threadIdx.x);
  if (head >= task.heads) return;
  Softmax softmax;
  for (int tile = 0; tile < kTilesPerSplit; ++tile) {
    softmax.highest = fmaxf(softmax.highest, exchange.highest[tile][head]);
    softmax.sum = add_tile(softmax.sum, exchange.shrink[tile][head], exchange.sum[tile][head]);
  }
  task.results->softmaxes[task.result + head] = softmax;
}

// One more tile for the weighted sums of 16 dimensions, of which load_values() has 8 and 8.
template <typename Element, typename Values>
__device__ void add_tile_values(const SplitExchange& exchange, const uint4* weights, int tile, int heads,
                                const Values& values, float (&sums)[2][4]) {
  const int g = lane_id() / 4;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (8 * h >= heads) break;
    const float shrink = exchange.shrink[tile][g + 8 * h];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) sums[j][2 * h + e] = __fmul_rn(sums[j][2 * h + e], shrink);
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    RightOperand<Element> right[2];
    values(half, right);
    const LeftOperand left = load_operand(weights + (2 * tile + half) * kOperandVectors);
#pragma unroll
    for (int j = 0; j < 2; ++j) multiply(sums[j], left, right[j]);
  }
}

}  // namespace sinkstream::kernels::cuda
