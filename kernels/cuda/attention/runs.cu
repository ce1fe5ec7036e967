// Attention of neighbouring rows of one slot: a block takes a run of rows with a tile of heads, a warp 16 of
// their queries, and all pass over the slot's keys and values together. A row's sums over splits stand in
// `out` meanwhile. Of large heads a block has a part of the values' dimensions, for which a warp's registers
// are enough.
#include <type_traits>

#include "kernels/cuda/attention/head_sizes.h"
#include "kernels/cuda/attention/task.h"
#include "kernels/cuda/early_launch.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kThreads = kRunWarps * kWarpSize;

// How keys and values of the type lie in shared memory: a stage of them at a time, rows padded so that those
// that are read together lie in different banks.
template <typename Element, int kHeadDim>
struct Stage {
  using Loads = KeyLoads<Element, kHeadDim>;
  static constexpr int kKeys = sizeof(Element) == 2 && kHeadDim <= 128 ? 2 * kTileKeys : kTileKeys;
  static constexpr int kTiles = kKeys / kTileKeys;
  static constexpr int kRowBytes = Loads::kRowBytes;
  static constexpr int kValueDims = kHeadDim <= 128 ? kHeadDim : 128;  // of a block
  static constexpr int kValueRowBytes = kValueDims * static_cast<int>(sizeof(Element));
  static constexpr int kKeyStride =
      ceil_divide(kRowBytes + 64, 128) * 128 - 64;  // 64 more than a multiple of 128
  static constexpr int kValueStride = kValueRowBytes + 16;
  static constexpr int kKeyBytes = kKeys * kKeyStride;
  static constexpr int kValueBytes = kKeys * kValueStride;
};

constexpr int larger(int a, int b) {
  return a < b ? b : a;
}

// A block's shared memory, behind each other.
template <typename Element, int kHeadDim>
struct RunMemory {
  static constexpr int kQueryVectors = kHeadDim / kChunk * kOperandVectors;  // uint4, of a warp
  static constexpr int kQueryBytes = kRunWarps * kQueryVectors * static_cast<int>(sizeof(uint4));
  static constexpr int kKeyBytes =
      larger(Stage<Element, kHeadDim>::kKeyBytes, Stage<float, kHeadDim>::kKeyBytes);
  static constexpr int kValueBytes =
      larger(Stage<Element, kHeadDim>::kValueBytes, Stage<float, kHeadDim>::kValueBytes);
  static constexpr int kBytes = kQueryBytes + kKeyBytes + kValueBytes;

  __device__ static uint4* queries() { return dynamic_shared<uint4>(); }
  __device__ static std::byte* keys() { return dynamic_shared<std::byte>() + kQueryBytes; }
  __device__ static std::byte* values() { return keys() + kKeyBytes; }
};

// One query as a lane sees it; it has two, columns g and g + 8 of its warp's.
struct Column {
  int row = -1;  // none: nothing is attended to
  int head = 0;
};

// Where a column's sums of all splits so far stand.
struct Total {
  Softmax softmax;
  float* out = nullptr;  // [the block's dimensions], or none
};

// What the whole run attends to in an array, and, counted from where that begins, each of the lane's columns.
struct RunReach {
  Reach all;
  NearReach columns[2];
};

template <typename OfRow>
__device__ RunReach reach_of(const AttentionTask& task, const RowRun& run, const Column (&columns)[2],
                             const OfRow& of_row) {
  RunReach reach;
  std::int64_t first = INT64_MAX;
  std::int64_t end = 0;
  for (int i = lane_id(); i < run.count; i += kWarpSize) {
    const Reach row = of_row(task.rows[run.first + i]);
    if (row.empty()) continue;
    first = min(first, row.first);
    end = max(end, row.end);
  }
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    first = min(first, std::int64_t{__shfl_xor_sync(kWholeWarp, static_cast<long long>(first), distance)});
    end = max(end, std::int64_t{__shfl_xor_sync(kWholeWarp, static_cast<long long>(end), distance)});
  }
  reach.all = {first, end, 0};
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (columns[h].row >= 0) reach.columns[h] = near(of_row(task.rows[columns[h].row]), first);
  }
  return reach;
}

// The warp's queries as left operands. `queries` as the task has them.
template <typename Element, int kHeadDim>
__device__ void write_queries(const AttentionTask& task, const Column (&columns)[2], const float* queries,
                              uint4* operands) {
  using Loads = KeyLoads<Element, kHeadDim>;
  const auto read = [&](const Column& column, int chunk) {
    if (column.row < 0) return make_float4(0, 0, 0, 0);
    const int dimension = Loads::first_dimension(chunk, lane_id() % 4);
    return *reinterpret_cast<const float4*>(queries + task.head_offset(column.row, column.head) + dimension);
  };
#pragma unroll 2
  for (int chunk = 0; chunk < Loads::kChunks; ++chunk) {
    store_operand(query_operand(read(columns[0], chunk), read(columns[1], chunk)),
                  operands + chunk * kOperandVectors, lane_id());
  }
  __syncwarp();
}

// A stage's keys or values: of each kBytes from `from` on.
template <typename Element, int kHeadDim, int kBytes>
__device__ void copy_stage(const std::byte* from, const Ring& ring, const Reach& reach, std::int64_t begin,
                           int stride, std::byte* to) {
  using Own = Stage<Element, kHeadDim>;
  constexpr int kVectors = kBytes / 16;
  const Stretch stretch(begin, Own::kKeys, reach, ring.capacity);
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x); i < Own::kKeys * kVectors; i += kThreads) {
    const int key = i / kVectors;
    const int byte = i % kVectors * 16;
    copy_async_16(to + key * stride + byte, from + stretch.place_of(key) * Own::kRowBytes + byte,
                  stretch.wants(key));
  }
  commit_copies();
}

// Weighted sums of a split: sums[n][2h + e] is that of column g + 8h and dimension 8n + 2t + e.
template <int kValueDims>
struct SplitSums {
  Softmax softmax[2];
  float sums[kValueDims / 8][4] = {};

  // Before a tile is added, in which the highest scores are these.
  __device__ void raise(const float (&tile_highest)[2], float (&shrink)[2]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float highest = fmaxf(softmax[h].highest, tile_highest[h]);
      shrink[h] = shrinking(softmax[h].highest, highest);
      softmax[h].highest = highest;
    }
    if (!__any_sync(kWholeWarp, shrink[0] != 1.0f || shrink[1] != 1.0f)) return;
#pragma unroll
    for (int n = 0; n < kValueDims / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[n][i] = __fmul_rn(sums[n][i], shrink[i / 2]);
    }
  }
};

template <typename Element, int kHeadDim>
__device__ void add_tile(TileScores& scores, const RunReach& reach, int begin, float scale,
                         const float (&slopes)[2], const std::byte* values,
                         SplitSums<Stage<Element, kHeadDim>::kValueDims>& split) {
  constexpr int kStride = Stage<Element, kHeadDim>::kValueStride;
  float highest[2], shrink[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    finish_scores(scores, h, reach.columns[h].from(begin), scale, slopes[h]);
    highest[h] = highest_score(scores, h);
  }
  split.raise(highest, shrink);
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    Softmax& softmax = split.softmax[h];
    softmax.sum = cuda::add_tile(softmax.sum, shrink[h], weigh(scores, h, softmax.highest));
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const LeftOperand left = weights_operand(scores, half);
#pragma unroll
    for (int group = 0; group < Stage<Element, kHeadDim>::kValueDims / kChunk; ++group) {
      RightOperand<Element> right[2];
      load_values<Element>(values + half * 16 * kStride + group * 16 * int{sizeof(Element)}, kStride, right);
#pragma unroll
      for (int j = 0; j < 2; ++j) multiply(split.sums[2 * group + j], left, right[j]);
    }
  }
}

// Merges a split into the totals; with `is_last` these are divided by their weights.
template <int kValueDims>
__device__ void end_split(const SplitSums<kValueDims>& split, bool is_last, Total (&totals)[2]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    Total& total = totals[h];
    if (total.out == nullptr) continue;
    constexpr int kPairs = kValueDims / 8;
    float2* const out = reinterpret_cast<float2*>(total.out) + lane_id() % 4;
    float2 sums[kPairs] = {};
    if (total.softmax.highest != lowest()) {
#pragma unroll
      for (int n = 0; n < kPairs; ++n) sums[n] = out[4 * n];
    }
    const MergeFactors factors = merge(total.softmax, split.softmax[h]);
#pragma unroll
    for (int n = 0; n < kPairs; ++n) {
      sums[n].x = merged(sums[n].x, split.sums[n][2 * h], factors);
      sums[n].y = merged(sums[n].y, split.sums[n][2 * h + 1], factors);
    }
    if (is_last) {
#pragma unroll
      for (int n = 0; n < kPairs; ++n) {
        sums[n].x = __fdiv_rn(sums[n].x, total.softmax.sum);
        sums[n].y = __fdiv_rn(sums[n].y, total.softmax.sum);
      }
    }
#pragma unroll
    for (int n = 0; n < kPairs; ++n) out[4 * n] = sums[n];
  }
}

// Passes over an array. The block's queries lie in shared memory.
template <typename Element, int kHeadDim, typename Memory>
__device__ void attend_array(const Ring& ring, const RunReach& reach, float scale, const float (&slopes)[2],
                             int first_value, bool is_last, Total (&totals)[2]) {
  using Own = Stage<Element, kHeadDim>;
  const uint4* const queries = Memory::queries() + warp_id() * Memory::kQueryVectors;
  std::byte* const keys = Memory::keys();
  std::byte* const values = Memory::values();
  const std::int64_t first = reach.all.first / Own::kKeys * Own::kKeys;
  const int stages = static_cast<int>((reach.all.end - 1) / Own::kKeys - reach.all.first / Own::kKeys) + 1;
  const int first_of_split = static_cast<int>(reach.all.first / Own::kKeys % (kSplitKeys / Own::kKeys));
  const int before = static_cast<int>(first - reach.all.first);  // what the first stage has before the reach
  constexpr int kStagesPerSplit = kSplitKeys / Own::kKeys;
  copy_stage<Element, kHeadDim, Own::kRowBytes>(ring.keys, ring, reach.all, first, Own::kKeyStride, keys);
  SplitSums<Own::kValueDims> split;
  for (int stage = 0; stage < stages; ++stage) {
    const std::int64_t begin = first + std::int64_t{stage} * Own::kKeys;
    const bool ends = stage + 1 == stages;
    wait_for_copies<0>();
    __syncthreads();  // this stage's keys are there; nobody reads the values of the one before
    copy_stage<Element, kHeadDim, Own::kValueRowBytes>(ring.values + first_value * sizeof(Element), ring,
                                                       reach.all, begin, Own::kValueStride, values);
    float scores[Own::kTiles * kTileEights][4] = {};
    multiply_keys<Element, kHeadDim>(
        queries,
        [&](int n, int load) {
          return load_key<Element, kHeadDim, false>(keys + (8 * n + lane_id() / 4) * Own::kKeyStride, load);
        },
        scores);
    wait_for_copies<0>();
    __syncthreads();  // its values are there; nobody reads its keys
    if (!ends) {
      copy_stage<Element, kHeadDim, Own::kRowBytes>(ring.keys, ring, reach.all, begin + Own::kKeys,
                                                    Own::kKeyStride, keys);
    }
#pragma unroll
    for (int tile = 0; tile < Own::kTiles; ++tile) {
      TileScores& of_tile = *reinterpret_cast<TileScores*>(&scores[tile * kTileEights]);
      add_tile<Element, kHeadDim>(of_tile, reach, before + stage * Own::kKeys + tile * kTileKeys, scale,
                                  slopes, values + tile * kTileKeys * Own::kValueStride, split);
    }
    if (ends || (first_of_split + stage + 1) % kStagesPerSplit == 0) {
      end_split(split, is_last && ends, totals);
      split = SplitSums<Own::kValueDims>();
    }
  }
  __syncthreads();  // nobody reads this array's queries, keys and values
}

// Blocks: runs (each takes more than one where there are more), tiles of heads, parts of the values'
// dimensions.
template <typename Element, int kHeadDim>
__global__ void __launch_bounds__(kThreads, kHeadDim <= 128 ? 2 : 1)
    attend(AttentionTask task, RowPlan plan) {
  using Memory = RunMemory<Element, kHeadDim>;
  begin_after_previous();
  const HeadTile heads = head_tile(task.shard, static_cast<int>(blockIdx.y));
  if (heads.heads == 0) return;
  const int first_value = static_cast<int>(blockIdx.z) * Stage<Element, kHeadDim>::kValueDims;
  const int num_runs = *plan.num_runs;
  for (int r = static_cast<int>(blockIdx.x); r < num_runs; r += static_cast<int>(gridDim.x)) {
    const RowRun run = plan.runs[r];
    Column columns[2];
    Total totals[2];
    float slopes[2] = {};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int column = warp_id() * kColumns + lane_id() / 4 + 8 * h;
      const int row = column / heads.heads;
      if (row >= run.count) continue;
      columns[h] = {run.first + row, heads.first_head + column % heads.heads};
      totals[h].out = task.out + task.head_offset(columns[h].row, columns[h].head) + first_value;
      slopes[h] = task.slope(columns[h].head);
    }
    uint4* const queries = Memory::queries() + warp_id() * Memory::kQueryVectors;
    const std::int32_t slot = task.rows[run.first].slot;
    const auto attend_to = [&]<typename Stored>(std::type_identity<Stored>, bool sinks) {
      const RunReach reach = reach_of(task, run, columns, [sinks](const AttentionRow& row) {
        return sinks ? reach_in_sinks(row) : reach_in_window(row);
      });
      if (sinks && reach.all.empty()) return;
      const float* const of_rows = sinks ? task.sink_queries : task.window_queries;
      write_queries<Stored, kHeadDim>(task, columns, of_rows, queries);
      const Ring ring =
          sinks ? sinks_ring(task.cache, slot, heads.kv_head) : window_ring(task.cache, slot, heads.kv_head);
      attend_array<Stored, kHeadDim, Memory>(ring, reach, task.scale, slopes, first_value, !sinks, totals);
    };
    if constexpr (std::is_same_v<Element, float>) {  // one pass's code serves both
#pragma unroll 1
      for (int array = 0; array < 2; ++array) attend_to(std::type_identity<float>(), array == 0);
    } else {
      attend_to(std::type_identity<float>(), true);
      attend_to(std::type_identity<Element>(), false);
    }
  }
}

template <typename Element, int kHeadDim>
void launch_runs(const Device& device, const AttentionTask& task, const RowPlan& plan) {
  constexpr int kBytes = RunMemory<Element, kHeadDim>::kBytes;
  allow_shared(attend<Element, kHeadDim>, kBytes);
  const dim3 grid(static_cast<unsigned>(ceil_divide(task.num_rows, rows_per_run(task.shard))),
                  static_cast<unsigned>(head_tiles(task.shard)),
                  kHeadDim / Stage<Element, kHeadDim>::kValueDims);
  launch_early(device, attend<Element, kHeadDim>, {grid, dim3(kThreads), static_cast<std::size_t>(kBytes)},
               task, plan);
}

}  // namespace

bool attends_in_runs(int head_dim) {
  bool does = false;
  for_head_dim(head_dim, [&](auto size) { does = size() != 0; });
  return does;
}

void attend_runs(const Device& device, const AttentionTask& task, const RowPlan& plan) {
  for_head_dim(task.cache.head_dim, [&](auto head_dim) {
    if constexpr (head_dim() != 0) {
      if (task.cache.ring_type == CacheType::f32) {
        launch_runs<float, head_dim()>(device, task, plan);
      } else {
        launch_runs<bfloat16, head_dim()>(device, task, plan);
      }
    }
  });
}

}  // namespace sinkstream::kernels::cuda
