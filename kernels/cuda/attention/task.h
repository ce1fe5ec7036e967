// Attention as its kernels are told it, and how it is cut in launches.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/softmax.h"
#include "kernels/cuda/device.h"

namespace sinkstream::kernels::cuda {

struct AttentionTask {
  const AttentionRow* rows = nullptr;
  int num_rows = 0;
  const float* window_queries = nullptr;
  const float* sink_queries = nullptr;
  const float* alibi_slopes = nullptr;  // or none
  float* out = nullptr;
  CacheLayerView cache;
  HeadShard shard;
  float scale = 1;  // times kLog2OfE

  __device__ std::int64_t head_offset(int row, int head) const {
    return (std::int64_t{row} * shard.local_heads + head) * cache.head_dim;
  }
  __device__ float slope(int head) const {
    return alibi_slopes == nullptr ? 0.0f : __fmul_rn(alibi_slopes[head], kLog2OfE);
  }
};

// Neighbouring rows of one slot, which are attended for together.
struct RowRun {
  int first;
  int count;
};

// Which rows are, in device memory. Without one (null) each row is for itself.
struct RowPlan {
  const int* num_apart = nullptr;
  const int* num_runs = nullptr;
  const int* apart = nullptr;
  const RowRun* runs = nullptr;

  // The rows for themselves, counted from 0.
  __device__ int apart_rows(const AttentionTask& task) const {
    return apart == nullptr ? task.num_rows : *num_apart;
  }
  __device__ int apart_row(int i) const { return apart == nullptr ? i : apart[i]; }
};

constexpr std::int64_t row_plan_bytes(std::int64_t rows) {
  return (2 + 3 * rows) * std::int64_t{sizeof(int)};
}

// The result of each split of rows for themselves, of tiles [first_tile, first_tile + tiles) of heads and
// rows [first_row, first_row + rows) of those.
//   softmaxes [rows, tiles, splits, heads]; sums [rows, tiles, splits, heads, head_dim]
struct SplitResults {
  Softmax* softmaxes = nullptr;
  float* sums = nullptr;
  int first_row = 0;
  int rows = 0;
  int first_tile = 0;
  int tiles = 0;
  int splits = 0;  // the most that a row can have
  int heads = 0;   // of a tile

  __device__ std::int64_t index(int row, int tile, int split, int head) const {
    return ((static_cast<std::int64_t>(row) * tiles + tile) * splits + split) * heads + head;
  }
};

// Runs hold rows_per_run(shard) rows at most. A shorter one than fills a warp's columns is cut in rows for
// themselves.
constexpr int kRunWarps = 4;
constexpr int kRunColumns = kRunWarps * kColumns;
constexpr int rows_per_run(const HeadShard& shard) {
  return kRunColumns / heads_per_tile(shard);
}
constexpr int fewest_rows_of_run(const HeadShard& shard) {
  return ceil_divide(kColumns, heads_per_tile(shard));
}

// Has runs.cu kernels for this size of heads?
bool attends_in_runs(int head_dim);

// Writes a plan to `memory`, which has row_plan_bytes().
RowPlan plan_rows(const Device& device, const AttentionTask& task, Address memory);
// Runs of the plan.
void attend_runs(const Device& device, const AttentionTask& task, const RowPlan& plan);
// Rows for themselves, those that the results name.
void attend_splits(const Device& device, const AttentionTask& task, const RowPlan& plan,
                   const SplitResults& results);
void merge_splits(const Device& device, const AttentionTask& task, const RowPlan& plan,
                  const SplitResults& results);

}  // namespace sinkstream::kernels::cuda
