// Attention of rows for themselves: a block a split, which is read once for all heads of a tile; then the
// splits of each row are merged. Bound by memory. Of many blocks several share a multiprocessor, and each has
// a part of its keys and values on their way; of few, which would wait for memory once for each part, each
// has all of them in shared memory (kDeep), begun before the previous kernel has ended.
#include "kernels/cuda/attention/head_sizes.h"
#include "kernels/cuda/attention/task.h"
#include "kernels/cuda/early_launch.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kWarps = kTilesPerSplit;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kMergeThreads = 128;
constexpr int kFewBlocks = 4;  // of a multiprocessor

constexpr int smaller(int a, int b) {
  return a < b ? a : b;
}
constexpr int larger(int a, int b) {
  return a < b ? b : a;
}

// A block's shared memory.
struct Exchange {
  float highest[kTilesPerSplit][kColumns];
  float shrink[kTilesPerSplit][kColumns];
  float sum[kTilesPerSplit][kColumns];
};

constexpr int kWeightVectors =
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
__device__ void weigh_split(const SplitTask& task, TileScores& scores, Exchange& exchange, uint4* weights) {
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
__device__ void write_softmax(const SplitTask& task, const Exchange& exchange) {
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
__device__ void add_tile_values(const Exchange& exchange, const uint4* weights, int tile, int heads,
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

// ---- Heads of a size known to the compiler
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
constexpr bool kCanBeDeep = kHeadDim > 0 && kHeadDim * sizeof(Element) <= 256;

template <typename Element, int kHeadDim, bool kDeep>
constexpr int shared_bytes() {
  using Own = Staging<Element, kHeadDim, kDeep>;
  using Sinks = Staging<float, kHeadDim, false>;
  return static_cast<int>(sizeof(Exchange)) +
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
  for (int i = static_cast<int>(threadIdx.x); i < kTileKeys * kVectors; i += kThreads) {
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
  for (int i = static_cast<int>(threadIdx.x); i < Loads::kChunks * kWarpSize; i += kThreads) {
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
__device__ void add_values(const SplitTask& task, const Exchange& exchange, const uint4* weights,
                           const std::byte* staged, const Ready& ready, const HasRead& has_read) {
  using Own = Staging<Element, kHeadDim, kDeep>;
  constexpr int kGroups = ceil_divide(Own::Loads::kChunks, kWarps);  // of 16 dimensions, that a warp has
  float sums[kGroups][2][4] = {};
  for (int tile = 0; tile < kTilesPerSplit; ++tile) {
    ready(tile);
    const std::byte* const values = staged + tile % Own::kTiles * Own::kTileBytes;
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      const int group = warp_id() + i * kWarps;
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
    const int group = warp_id() + i * kWarps;
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
__device__ void attend_split(const SplitTask& task, Exchange& exchange, uint4* operands, std::byte* staged) {
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
__device__ void attend_split_deep(const SplitTask& task, Exchange& exchange, uint4* operands,
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

// ---- Heads of any size
struct AnySize {
  int head_dim;

  __device__ int chunks() const { return ceil_divide(head_dim, kChunk); }
};

__device__ inline float to_number(float value) {
  return value;
}
__device__ inline float to_number(bfloat16 value) {
  return to_float(value);
}

template <typename Element>
__device__ RightOperand<Element> right_operand(const float (&numbers)[4]) {
  std::uint32_t first[kParts], last[kParts];
  split(numbers[0], numbers[1], first);
  split(numbers[2], numbers[3], last);
  RightOperand<Element> operand;
#pragma unroll
  for (int i = 0; i < kPartsOf<Element>; ++i) {
    operand.parts[i][0] = first[i];
    operand.parts[i][1] = last[i];
  }
  return operand;
}

// Four numbers of a lane's chunk, zero beyond the head's end.
template <typename Read>
__device__ float4 four_of_chunk(int chunk, int head_dim, const Read& read) {
  const auto at = [&](int i) {
    const int dimension = chunk * kChunk + lane_id() % 4 * 4 + i;
    return dimension < head_dim ? read(dimension) : 0.0f;
  };
  return make_float4(at(0), at(1), at(2), at(3));
}

template <typename Element>
__device__ void score_tile(const SplitTask& task, AnySize size, TileScores& scores) {
  const int g = lane_id() / 4;
  const auto queries = [&](int head, int chunk) {
    return four_of_chunk(chunk, head < task.heads ? size.head_dim : 0, [&](int dimension) {
      return task.queries[std::int64_t{head} * size.head_dim + dimension];
    });
  };
  if (!task.stretch.wants_any(warp_id() * kTileKeys, kTileKeys)) return;
  for (int chunk = 0; chunk < size.chunks(); ++chunk) {
    const LeftOperand left = query_operand(queries(g, chunk), queries(g + 8, chunk));
#pragma unroll
    for (int n = 0; n < kTileEights; ++n) {
      const int place = warp_id() * kTileKeys + n * 8 + g;
      const auto* const key =
          reinterpret_cast<const Element*>(task.ring.keys) + task.stretch.place_of(place) * size.head_dim;
      const float4 four = four_of_chunk(chunk, task.stretch.wants(place) ? size.head_dim : 0,
                                        [&](int dimension) { return to_number(key[dimension]); });
      const float numbers[4] = {four.x, four.y, four.z, four.w};
      multiply(scores[n], left, right_operand<Element>(numbers));
    }
  }
}

template <typename Element>
__device__ void attend_split(const SplitTask& task, Exchange& exchange, uint4* operands, AnySize size) {
  TileScores scores = {};
  wait_for_previous_kernel();
  score_tile<Element>(task, size, scores);
  weigh_split(task, scores, exchange, operands);
  write_softmax(task, exchange);

  const int g = lane_id() / 4;
  const int t = lane_id() % 4;
  const auto value_at = [&](int place, int dimension) {
    if (!task.stretch.wants(place) || dimension >= size.head_dim) return 0.0f;
    return to_number(reinterpret_cast<const Element*>(
        task.ring.values)[task.stretch.place_of(place) * size.head_dim + dimension]);
  };
  for (int group = warp_id(); group < size.chunks(); group += kWarps) {
    float sums[2][4] = {};
    for (int tile = 0; tile < kTilesPerSplit; ++tile) {
      if (!task.stretch.wants_any(tile * kTileKeys, kTileKeys)) continue;
      add_tile_values<Element>(
          exchange, operands, tile, task.heads,
          [&](int half, RightOperand<Element>(&right)[2]) {
            const int key = tile * kTileKeys + half * 16 + 2 * t;
#pragma unroll
            for (int j = 0; j < 2; ++j) {
              const int dimension = group * kChunk + 8 * j + g;
              const float numbers[4] = {value_at(key, dimension), value_at(key + 1, dimension),
                                        value_at(key + 8, dimension), value_at(key + 9, dimension)};
              right[j] = right_operand<Element>(numbers);
            }
          },
          sums);
    }
    for (int i = 0; i < 8; ++i) {
      const int head = g + i / 2 % 2 * 8;
      const int dimension = group * kChunk + i / 4 * 8 + 2 * t + i % 2;
      if (head < task.heads && dimension < size.head_dim) {
        task.results->sums[(task.result + head) * size.head_dim + dimension] = sums[i / 4][i % 4];
      }
    }
  }
}

// ---- The kernels
// A row's splits, first those of the sinks.
struct RowSplits {
  Splits sinks;
  Splits window;

  __device__ explicit RowSplits(const AttentionRow& row)
      : sinks(splits_of(reach_in_sinks(row))), window(splits_of(reach_in_window(row))) {}
  __device__ std::int64_t count() const { return sinks.count() + window.count(); }
};

// What a block's phases (keys come, scores, values) leave idle, others use.
constexpr int blocks_of_multiprocessor(int head_dim, bool deep) {
  return deep ? 1 : head_dim == 0 ? 2 : head_dim <= 128 ? 3 : 1;
}

// Positions from here on may be those of rows in this step.
__device__ std::int64_t first_new_position(const AttentionTask& task, const AttentionRow& row) {
  return row.position - task.num_rows + 1;
}

// Blocks: splits, tiles of heads, rows (each takes more than one where there are more). kHeadDim 0: any.
template <typename Element, int kHeadDim, bool kDeep>
__global__ void __launch_bounds__(kThreads, blocks_of_multiprocessor(kHeadDim, kDeep))
    attend(AttentionTask task, RowPlan plan, SplitResults results) {
  allow_next_kernel();
  // Rows are no kernel's work, but a plan is.
  if (plan.apart != nullptr) wait_for_previous_kernel();
  std::byte* const shared = dynamic_shared<std::byte>();
  Exchange& exchange = *reinterpret_cast<Exchange*>(shared);
  auto* const operands = reinterpret_cast<uint4*>(shared + sizeof(Exchange));
  const int which = static_cast<int>(blockIdx.x);
  const int tile = static_cast<int>(blockIdx.y);
  const HeadTile heads = head_tile(task.shard, results.first_tile + tile);
  if (heads.heads == 0) return;
  const int last_row = min(results.rows, plan.apart_rows(task) - results.first_row);
  for (int i = static_cast<int>(blockIdx.z); i < last_row; i += static_cast<int>(gridDim.z)) {
    const int r = plan.apart_row(results.first_row + i);
    const AttentionRow row = task.rows[r];
    const RowSplits splits(row);
    if (which >= splits.count()) continue;
    const bool of_sinks = which < splits.sinks.count();
    const std::int64_t in_array =
        of_sinks ? splits.sinks.first + which : splits.window.first + which - splits.sinks.count();
    const std::int64_t at = task.head_offset(r, heads.first_head);
    const Reach reach = of_sinks ? reach_in_sinks(row) : reach_in_window(row);
    const std::int64_t begin = in_array * kSplitKeys;
    const Ring ring = of_sinks ? sinks_ring(task.cache, row.slot, heads.kv_head)
                               : window_ring(task.cache, row.slot, heads.kv_head);
    const SplitTask split{
        .reach = near(reach, begin),
        .stretch = Stretch(begin, kSplitKeys, reach, ring.capacity),
        .first_new = Stretch::clamp(first_new_position(task, row) - begin, kSplitKeys),
        .ring = ring,
        .queries = (of_sinks ? task.sink_queries : task.window_queries) + at,
        .slopes = task.alibi_slopes == nullptr ? nullptr : task.alibi_slopes + heads.first_head,
        .heads = heads.heads,
        .scale = task.scale,
        .results = &results,
        .result = results.index(i, tile, which, 0),
    };
    if constexpr (kHeadDim == 0) {
      const AnySize size{task.cache.head_dim};
      if (of_sinks) {
        attend_split<float>(split, exchange, operands, size);
      } else {
        attend_split<Element>(split, exchange, operands, size);
      }
    } else {
      std::byte* const staged =
          reinterpret_cast<std::byte*>(operands + Staging<Element, kHeadDim, kDeep>::kOperands);
      if (of_sinks) {
        attend_split<float, kHeadDim>(split, exchange, operands, staged);
      } else if constexpr (kDeep) {
        attend_split_deep<Element, kHeadDim>(split, exchange, operands, staged);
      } else {
        attend_split<Element, kHeadDim>(split, exchange, operands, staged);
      }
    }
    __syncthreads();
  }
}

// Blocks: heads of tiles, rows. A thread has dimensions of its own.
__global__ void __launch_bounds__(kMergeThreads, 8)
    merge_rows(AttentionTask task, RowPlan plan, SplitResults results) {
  allow_next_kernel();
  if (plan.apart != nullptr) wait_for_previous_kernel();
  const int tile = static_cast<int>(blockIdx.x) / results.heads;
  const int head_of_tile = static_cast<int>(blockIdx.x) % results.heads;
  const HeadTile heads = head_tile(task.shard, results.first_tile + tile);
  if (head_of_tile >= heads.heads) return;
  const int head_dim = task.cache.head_dim;
  const int last_row = min(results.rows, plan.apart_rows(task) - results.first_row);
  for (int i = static_cast<int>(blockIdx.y); i < last_row; i += static_cast<int>(gridDim.y)) {
    const int r = plan.apart_row(results.first_row + i);
    const auto splits = static_cast<int>(RowSplits(task.rows[r]).count());
    wait_for_previous_kernel();
    const std::int64_t first = results.index(i, tile, 0, head_of_tile);
    float* const out = task.out + task.head_offset(r, heads.first_head + head_of_tile);
    for (int dimension = static_cast<int>(threadIdx.x); dimension < head_dim; dimension += kMergeThreads) {
      Softmax total;
      float sum = 0;
#pragma unroll 8
      for (int s = 0; s < splits; ++s) {
        const std::int64_t at = first + std::int64_t{s} * results.heads;
        const float of_split = results.sums[at * head_dim + dimension];
        const MergeFactors factors = merge(total, results.softmaxes[at]);
        sum = merged(sum, of_split, factors);
      }
      out[dimension] = __fdiv_rn(sum, total.sum);
    }
  }
}

// Grids end at 65,535 in y and z.
unsigned blocks_for_rows(const SplitResults& results, const RowPlan& plan, const Device& device) {
  // Where few of many rows may be for themselves, blocks for all of them would be most of the work.
  const int most = plan.apart == nullptr
                       ? 65'535
                       : larger(1, 16 * device.multiprocessors / (results.splits * results.tiles));
  return static_cast<unsigned>(smaller(results.rows, most));
}

template <typename Element, int kHeadDim, bool kDeep>
void launch_splits(const Device& device, const AttentionTask& task, const RowPlan& plan,
                   const SplitResults& results) {
  constexpr int kBytes = [] {
    if constexpr (kHeadDim == 0) {
      return static_cast<int>(sizeof(Exchange)) + kWeightVectors * static_cast<int>(sizeof(uint4));
    } else {
      return shared_bytes<Element, kHeadDim, kDeep>();
    }
  }();
  allow_shared(attend<Element, kHeadDim, kDeep>, kBytes);
  const dim3 grid(static_cast<unsigned>(results.splits), static_cast<unsigned>(results.tiles),
                  blocks_for_rows(results, plan, device));
  launch_early(device, attend<Element, kHeadDim, kDeep>,
               {grid, dim3(kThreads), static_cast<std::size_t>(kBytes)}, task, plan, results);
}

// Whether blocks are so few that each had better have a multiprocessor for itself. (A row has fewer splits
// than there are blocks for.)
bool are_few(const Device& device, const RowPlan& plan, const SplitResults& results) {
  return plan.apart == nullptr &&
         std::int64_t{results.rows} * results.tiles * results.splits <= kFewBlocks * device.multiprocessors;
}

template <typename Element, int kHeadDim>
void launch_splits(const Device& device, const AttentionTask& task, const RowPlan& plan,
                   const SplitResults& results) {
  if constexpr (kCanBeDeep<Element, kHeadDim>) {
    if (are_few(device, plan, results)) {
      return launch_splits<Element, kHeadDim, true>(device, task, plan, results);
    }
  }
  launch_splits<Element, kHeadDim, false>(device, task, plan, results);
}

}  // namespace

void attend_splits(const Device& device, const AttentionTask& task, const RowPlan& plan,
                   const SplitResults& results) {
  for_head_dim(task.cache.head_dim, [&](auto head_dim) {
    if (task.cache.ring_dtype == DType::f32) {
      launch_splits<float, head_dim()>(device, task, plan, results);
    } else {
      launch_splits<bfloat16, head_dim()>(device, task, plan, results);
    }
  });
}

void merge_splits(const Device& device, const AttentionTask& task, const RowPlan& plan,
                  const SplitResults& results) {
  const dim3 grid(static_cast<unsigned>(results.tiles * results.heads),
                  static_cast<unsigned>(smaller(results.rows, 65'535)));
  launch_early(device, merge_rows, {grid, dim3(kMergeThreads)}, task, plan, results);
}

}  // namespace sinkstream::kernels::cuda
