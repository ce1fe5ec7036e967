// What attention is made of: tiles of keys, which make splits, which make a row's result.
//
// Splits are cut by absolute position: split s is [s * kSplitKeys, (s + 1) * kSplitKeys), of the sinks' array
// first, then of the ring's. A query's softmax starts anew in each split and runs over its tiles in ascending
// order; splits are merged in ascending order too. Places that a query does not attend to add exact zeros. So
// a result is the same whoever computes the tiles and splits: warps and blocks side by side (splits.cu) or
// one warp after the other (runs.cu).
//
// Scores are in units of log 2: they are what 2 is raised to.
#pragma once

#include <cstdint>

#include "kernels/cache_layout.h"
#include "kernels/cuda/attention/products.h"
#include "kernels/types.h"

namespace sinkstream::kernels::cuda {

inline constexpr int kTileKeys = 32;
inline constexpr int kTileEights = kTileKeys / 8;
inline constexpr int kSplitKeys = 256;
inline constexpr int kTilesPerSplit = kSplitKeys / kTileKeys;

inline constexpr float kLog2OfE = 1.4426950408889634f;

__device__ inline float lowest() {
  return -__uint_as_float(0x7f800000u);  // infinity
}

// What a row attends to in one of the cache's two arrays: positions [first, end). Distances count from
// `origin`.
struct Reach {
  std::int64_t first = 0;
  std::int64_t end = 0;
  std::int64_t origin = 0;

  __device__ bool empty() const { return first >= end; }
};

// The same counted from a position not far away.
struct NearReach {
  int first = 0;
  int end = 0;
  int origin = 0;

  __device__ NearReach from(int position) const {
    return {first - position, end - position, origin - position};
  }
};

__device__ inline NearReach near(const Reach& reach, std::int64_t position) {
  return {static_cast<int>(reach.first - position), static_cast<int>(reach.end - position),
          static_cast<int>(reach.origin - position)};
}

__device__ inline Reach reach_in_sinks(const AttentionRow& row) {
  return {0, row.sinks_end, row.sinks_end + row.position - row.window_begin};
}
__device__ inline Reach reach_in_window(const AttentionRow& row) {
  return {row.window_begin, row.position + 1, row.position};
}

// Splits that a row's reach touches.
struct Splits {
  std::int64_t first = 0;
  std::int64_t end = 0;

  __device__ std::int64_t count() const { return end - first; }
};

__device__ inline Splits splits_of(const Reach& reach) {
  if (reach.empty()) return {0, 0};
  return {reach.first / kSplitKeys, (reach.end - 1) / kSplitKeys + 1};
}

// One of the cache's arrays for a slot and KV head. The sinks' is a ring too, in which nothing is ever
// overwritten.
struct Ring {
  const std::byte* keys;
  const std::byte* values;
  std::int64_t capacity;
};

__device__ inline Ring sinks_ring(const CacheLayerView& cache, std::int64_t slot, int local_kv_head) {
  const CachePlane plane = cache_plane(cache, slot, local_kv_head);
  return {device_pointer<const std::byte>(plane.sink_keys),
          device_pointer<const std::byte>(plane.sink_values), cache.sink_capacity};
}
__device__ inline Ring window_ring(const CacheLayerView& cache, std::int64_t slot, int local_kv_head) {
  const CachePlane plane = cache_plane(cache, slot, local_kv_head);
  return {device_pointer<const std::byte>(plane.ring_keys),
          device_pointer<const std::byte>(plane.ring_values), cache.ring_capacity};
}

// Neighbouring positions of a ring from `begin` on, of which those in [first, end) are wanted, not more than
// the ring has; both count from `begin`.
struct Stretch {
  int first;
  int end;
  int place;       // of the first
  int until_wrap;  // how many of the wanted stand before the ring's end

  // `size`: the most positions that are asked for.
  __device__ Stretch(std::int64_t begin, int size, const Reach& reach, std::int64_t capacity)
      : first(clamp(reach.first - begin, size)),
        end(clamp(reach.end - begin, size)),
        place(static_cast<int>(ring_index(begin + first, capacity))),
        until_wrap(clamp(capacity - place, size)) {}

  __device__ bool wants(int i) const { return i >= first && i < end; }
  __device__ bool wants_any(int i, int count) const { return i < end && i + count > first; }
  // Where the i-th stands, some place if it isn't wanted.
  __device__ std::int64_t place_of(int i) const {
    const int of_wanted = wants(i) ? i - first : 0;
    return (of_wanted < until_wrap ? place : -until_wrap) + of_wanted;
  }

  __device__ static int clamp(std::int64_t offset, int size) {
    return offset < 0 ? 0 : offset > size ? size : static_cast<int>(offset);
  }
};

// The part of a rank's query heads that is taken together: heads of one KV head, kColumns at most.
struct HeadTile {
  int kv_head = 0;  // local
  int first_head = 0;
  int heads = 0;
};

// Of groups of `shard.group_size` heads, cut in tiles of heads_per_tile(); the shard's ends may cut a group.
constexpr int heads_per_tile(const HeadShard& shard) {
  return shard.group_size < kColumns ? shard.group_size : kColumns;
}
constexpr int head_tiles(const HeadShard& shard) {
  return shard.local_kv_heads * ceil_divide(shard.group_size, heads_per_tile(shard));
}
__device__ inline HeadTile head_tile(const HeadShard& shard, int index) {
  const int tiles_per_group = ceil_divide(shard.group_size, heads_per_tile(shard));
  const int kv_head = index / tiles_per_group;
  const std::int64_t group =
      static_cast<std::int64_t>(shard.first_kv_head + kv_head) * shard.group_size - shard.first_head;
  const std::int64_t begin = group + index % tiles_per_group * heads_per_tile(shard);
  const std::int64_t end = min(begin + heads_per_tile(shard), group + shard.group_size);
  const std::int64_t first = max(begin, std::int64_t{0});
  const std::int64_t last = min(end, std::int64_t{shard.local_heads});
  return {kv_head, static_cast<int>(first), last > first ? static_cast<int>(last - first) : 0};
}

// ---- A tile, of which a warp has the scores as multiply_keys() leaves them
using TileScores = float[kTileEights][4];

// Scales the scores of columns g + 8h and takes the distances' penalty off; -infinity where nothing is
// attended to.
//   reach: counted from the tile's first position; scale, slope: times kLog2OfE
__device__ inline void finish_scores(TileScores& scores, int h, const NearReach& reach, float scale,
                                     float slope) {
  const NearReach of_lane = reach.from(2 * (lane_id() % 4));
  const auto origin = static_cast<float>(of_lane.origin);
#pragma unroll
  for (int n = 0; n < kTileEights; ++n) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int key = 8 * n + e;
      const float distance = __fsub_rn(origin, static_cast<float>(key));
      float& score = scores[n][2 * h + e];
      const bool attended = key >= of_lane.first && key < of_lane.end;
      score = attended ? __fmaf_rn(-slope, distance, __fmul_rn(score, scale)) : lowest();
    }
  }
}

__device__ inline float highest_score(const TileScores& scores, int h) {
  float highest = lowest();
#pragma unroll
  for (int n = 0; n < kTileEights; ++n) {
    highest = fmaxf(highest, fmaxf(scores[n][2 * h], scores[n][2 * h + 1]));
  }
  highest = fmaxf(highest, __shfl_xor_sync(kWholeWarp, highest, 1));
  return fmaxf(highest, __shfl_xor_sync(kWholeWarp, highest, 2));
}

// 2^(score - highest), where nothing attended to is -infinity above itself.
__device__ inline float weight(float score, float highest) {
  return exp2f(__fsub_rn(score, highest == lowest() ? 0.0f : highest));
}

// Scores become weights; returns their sum.
__device__ inline float weigh(TileScores& scores, int h, float highest) {
  float sum = 0;
#pragma unroll
  for (int n = 0; n < kTileEights; ++n) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float& score = scores[n][2 * h + e];
      score = weight(score, highest);
      sum = __fadd_rn(sum, score);
    }
  }
  sum = __fadd_rn(sum, __shfl_xor_sync(kWholeWarp, sum, 1));
  return __fadd_rn(sum, __shfl_xor_sync(kWholeWarp, sum, 2));
}

// The weights of 16 of the tile's keys, to be multiplied with values.
__device__ inline LeftOperand weights_operand(const TileScores& weights, int half) {
  std::uint32_t registers[4][kParts];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float(&eight)[4] = weights[2 * half + i / 2];
    split(eight[i % 2 * 2], eight[i % 2 * 2 + 1], registers[i]);
  }
  return left_operand(registers);
}

// ---- Tiles make a split, splits a row
struct Softmax {
  float highest = lowest();
  float sum = 0;  // of weights relative to the highest score
};

// By how much sums shrink when the highest score so far becomes `highest`.
__device__ inline float shrinking(float highest_before, float highest) {
  return weight(highest_before, highest);
}

__device__ inline float add_tile(float sum, float shrink, float tile_sum) {
  return __fmaf_rn(sum, shrink, tile_sum);
}

struct MergeFactors {
  float total;
  float split;
};

__device__ inline MergeFactors merge(Softmax& total, const Softmax& split) {
  if (split.highest == lowest()) return {1.0f, 0.0f};
  const float highest = fmaxf(total.highest, split.highest);
  const MergeFactors factors{weight(total.highest, highest), weight(split.highest, highest)};
  total.highest = highest;
  total.sum = __fmaf_rn(split.sum, factors.split, __fmul_rn(total.sum, factors.total));
  return factors;
}

__device__ inline float merged(float total, float split, const MergeFactors& factors) {
  return __fmaf_rn(split, factors.split, __fmul_rn(total, factors.total));
}

}  // namespace sinkstream::kernels::cuda
