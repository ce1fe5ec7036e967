// A split's attention for heads of a size that the compiler knows.
#pragma once

#include "kernels/cuda/attention/split.h"
#include "kernels/cuda/early_launch.h"

namespace sinkstream::kernels::cuda {

template <typename Element, int kHeadDim, bool kDeep>
struct Staging {
  using Loads = KeyLoads<Element, kHeadDim>;
  static constexpr int kRowBytes = Loads::kRowBytes;
  static constexpr int kStride = kRowBytes + 16;  // rows that are read together lie in different banks
  static constexpr int kTileBytes = kTileKeys * kStride;
  static constexpr int kTiles =  // of values, in shared memory at once
      kDeep ? kTilesPerSplit : smaller(kTilesPerSplit, larger(2, (36 << 10) / kTileBytes));
  // Keys in shared memory, for each lane what it reads: [tile][eight][load][lane] uint4.
  static constexpr int kKeyVectors = kDeep ? kTilesPerSplit * kTileEights * Loads::kCount * kWarpSize : 0;
  static constexpr int kOperands = larger(kWeightVectors, Loads::kChunks* kOperandVectors);
};

// Whether a split of such heads has room in shared memory.
template <typename Element, int kHeadDim>
inline constexpr bool kCanBeDeep = kHeadDim > 0 && kHeadDim * sizeof(Element) <= 256;

template <typename Element, int kHeadDim, bool kDeep>
constexpr int shared_bytes() {
  using Own = Staging<Element, kHeadDim, kDeep>;
  using Sinks = Staging<float, kHeadDim, false>;
  return static_cast<int>(sizeof(SplitExchange)) +
         (Own::kOperands + Own::kKeyVectors) * static_cast<int>(sizeof(uint4)) +
         larger(Own::kTiles * Own::kTileBytes, Sinks::kTiles * Sinks::kTileBytes);
}

// Which places of a split are copied: those that the previous kernels don't write, or the others.
enum class Age { all, old, fresh };

template <Age kAge>
__device__ bool is_of_age(const SplitTask& task, int place) {
  return kAge == Age::all || (place < task.first_new) == (kAge == Age::old);
}

template <typename Element, int kHeadDim, bool kDeep, Age kAge>
__device__ void copy_values(const SplitTask& task, int tile, std::byte* staged) {
  using Own = Staging<Element, kHeadDim, kDeep>;
  constexpr int kVectors = Own::kRowBytes / 16;
  std::byte* const to = staged + tile % Own::kTiles * Own::kTileBytes;
#pragma unroll 2  // the addresses of more copies would take the registers of keys
  for (int i = static_cast<int>(threadIdx.x); i < kTileKeys * kVectors; i += kSplitThreads) {
    const int key = i / kVectors;
    const int place = tile * kTileKeys + key;
    if (!is_of_age<kAge>(task, place)) continue;
    const int byte = i % kVectors * 16;
    copy_async_16(to + key * Own::kStride + byte,
                  task.ring.values + task.stretch.place_of(place) * Own::kRowBytes + byte,
                  task.stretch.wants(place));
  }
}

// Of this warp's tile, for each lane what it will read.
template <typename Element, int kHeadDim, Age kAge>
__device__ void copy_keys(const SplitTask& task, uint4* keys) {
  using Loads = KeyLoads<Element, kHeadDim>;
#pragma unroll
  for (int n = 0; n < kTileEights; ++n) {
    const int place = warp_id() * kTileKeys + n * 8 + lane_id() / 4;
    if (!is_of_age<kAge>(task, place)) continue;
    const std::byte* const key = task.ring.keys + task.stretch.place_of(place) * Loads::kRowBytes;
#pragma unroll
    for (int load = 0; load < Loads::kCount; ++load) {
      copy_key<Element, kHeadDim>(&keys[(n * Loads::kCount + load) * kWarpSize], key, load,
                                  task.stretch.wants(place));
    }
  }
}

template <typename Element, int kHeadDim>
__device__ void write_queries(const SplitTask& task, uint4* operands) {
  using Loads = KeyLoads<Element, kHeadDim>;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < Loads::kChunks * kWarpSize; i += kSplitThreads) {
    const int lane = i % kWarpSize;
    const int chunk = i / kWarpSize;
    const auto read = [&](int head) {
      if (head >= task.heads) return make_float4(0, 0, 0, 0);
      const int dimension = Loads::first_dimension(chunk, lane % 4);
      return *reinterpret_cast<const float4*>(task.queries + head * kHeadDim + dimension);
    };
    store_operand(query_operand(read(lane / 4), read(lane / 4 + 8)), operands + chunk * kOperandVectors,
                  lane);
  }
}

// `meanwhile`, while keys are on their way, ends with a barrier after which queries are there.
template <typename Element, int kHeadDim, typename Meanwhile>
__device__ void score_tile(const SplitTask& task, const uint4* queries, TileScores& scores,
                           const Meanwhile& meanwhile) {
  using Loads = KeyLoads<Element, kHeadDim>;
  constexpr int kAtOnce = smaller(kTileEights, larger(1, 4 / Loads::kCount));  // eights, in registers
  uint4 keys[kAtOnce][Loads::kCount];
  const auto read_keys = [&](int first_eight) {
#pragma unroll
    for (int n = 0; n < kAtOnce; ++n) {
      const int place = warp_id() * kTileKeys + (first_eight + n) * 8 + lane_id() / 4;
      const std::byte* const key = task.ring.keys + task.stretch.place_of(place) * Loads::kRowBytes;
#pragma unroll
      for (int load = 0; load < Loads::kCount; ++load) {
        keys[n][load] =
            task.stretch.wants(place) ? load_key<Element, kHeadDim, true>(key, load) : make_uint4(0, 0, 0, 0);
      }
    }
  };
  read_keys(0);
  meanwhile();
#pragma unroll
  for (int n = 0; n < kTileEights; n += kAtOnce) {
    // The condition keeps the compiler from reading all keys ahead, too, in registers that are taken.
    if (!task.stretch.wants_any(warp_id() * kTileKeys + 8 * n, 8 * kAtOnce)) continue;
    if (n > 0) read_keys(n);
    float products[kAtOnce][4] = {};
    multiply_keys<Element, kHeadDim>(
        queries, [&](int i, int load) { return keys[i][load]; }, products);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) scores[n + i][e] = products[i][e];
    }
  }
}

// The split's weighted sums of values. `ready` is called before a tile of them is read, `has_read`
// afterwards.
template <typename Element, int kHeadDim, bool kDeep, typename Ready, typename HasRead>
__device__ void add_values(const SplitTask& task, const SplitExchange& exchange, const uint4* weights,
                           const std::byte* staged, const Ready& ready, const HasRead& has_read) {
  using Own = Staging<Element, kHeadDim, kDeep>;
  constexpr int kGroups = ceil_divide(Own::Loads::kChunks, kSplitWarps);  // of 16 dimensions, that a warp has
  float sums[kGroups][2][4] = {};
  for (int tile = 0; tile < kTilesPerSplit; ++tile) {
    ready(tile);
    const std::byte* const values = staged + tile % Own::kTiles * Own::kTileBytes;
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      const int group = warp_id() + i * kSplitWarps;
      if (group >= Own::Loads::kChunks || !task.stretch.wants_any(tile * kTileKeys, kTileKeys))
        break;  // a whole warp
      add_tile_values<Element>(
          exchange, weights, tile, task.heads,
          [&](int half, RightOperand<Element>(&right)[2]) {
            load_values<Element>(values + half * 16 * Own::kStride + group * 16 * int{sizeof(Element)},
                                 Own::kStride, right);
          },
          sums[i]);
    }
    has_read(tile);
  }

#pragma unroll
  for (int i = 0; i < kGroups; ++i) {
    const int group = warp_id() + i * kSplitWarps;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int head = lane_id() / 4 + 8 * h;
      if (group >= Own::Loads::kChunks || head >= task.heads) continue;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int dimension = group * 16 + 8 * j + lane_id() % 4 * 2;
        *reinterpret_cast<float2*>(task.results->sums + (task.result + head) * kHeadDim + dimension) =
            make_float2(sums[i][j][2 * h], sums[i][j][2 * h + 1]);
      }
    }
  }
}

template <typename Element, int kHeadDim>
__device__ void attend_split(const SplitTask& task, SplitExchange& exchange, uint4* operands,
                             std::byte* staged) {
  using Own = Staging<Element, kHeadDim, false>;
  const auto copy_tile = [&](int tile) {
    copy_values<Element, kHeadDim, false, Age::all>(task, tile, staged);
    commit_copies();
  };
  TileScores scores = {};
  if (task.has_new()) wait_for_previous_kernel();
  score_tile<Element, kHeadDim>(task, operands, scores, [&] {
#pragma unroll 1
    for (int tile = 0; tile < Own::kTiles; ++tile) copy_tile(tile);
    wait_for_previous_kernel();  // for queries
    write_queries<Element, kHeadDim>(task, operands);
    __syncthreads();
  });
  weigh_split(task, scores, exchange, operands);
  write_softmax(task, exchange);
  add_values<Element, kHeadDim, false>(
      task, exchange, operands, staged,
      [&](int tile) {
        if (Own::kTiles == kTilesPerSplit && tile > 0) return;
        wait_for_copies<Own::kTiles == kTilesPerSplit ? 0 : Own::kTiles - 1>();
        __syncthreads();
      },
      [&](int tile) {
        if (Own::kTiles == kTilesPerSplit) return;
        __syncthreads();
        if (tile + Own::kTiles < kTilesPerSplit) {
          copy_tile(tile + Own::kTiles);
        } else {
          commit_copies();  // an empty group, so that their number says which are there
        }
      });
}

template <typename Element, int kHeadDim>
__device__ void attend_split_deep(const SplitTask& task, SplitExchange& exchange, uint4* operands,
                                  std::byte* staged) {
  using Own = Staging<Element, kHeadDim, true>;
  auto* const keys = reinterpret_cast<uint4*>(staged + Own::kTiles * Own::kTileBytes) +
                     warp_id() * (Own::kKeyVectors / kTilesPerSplit) + lane_id();
  copy_keys<Element, kHeadDim, Age::old>(task, keys);
  commit_copies();
#pragma unroll 1
  for (int tile = 0; tile < kTilesPerSplit; ++tile) {
    copy_values<Element, kHeadDim, true, Age::old>(task, tile, staged);
  }
  commit_copies();
  wait_for_previous_kernel();
  const bool has_new = task.has_new();
  if (has_new) {
    copy_keys<Element, kHeadDim, Age::fresh>(task, keys);
#pragma unroll 1
    for (int tile = task.first_new / kTileKeys; tile < kTilesPerSplit; ++tile) {
      copy_values<Element, kHeadDim, true, Age::fresh>(task, tile, staged);
    }
    commit_copies();
  }
  write_queries<Element, kHeadDim>(task, operands);
  __syncthreads();
  if (has_new) {
    wait_for_copies<0>();
  } else {
    wait_for_copies<1>();  // for keys
  }
  TileScores scores = {};
  if (task.stretch.wants_any(warp_id() * kTileKeys, kTileKeys)) {
    multiply_keys<Element, kHeadDim>(
        operands, [&](int n, int load) { return keys[(n * Own::Loads::kCount + load) * kWarpSize]; }, scores);
  }
  weigh_split(task, scores, exchange, operands);
  write_softmax(task, exchange);
  wait_for_copies<0>();
  __syncthreads();
  add_values<Element, kHeadDim, true>(
      task, exchange, operands, staged, [](int) {}, [](int) {});
}

}  // namespace sinkstream::kernels::cuda
