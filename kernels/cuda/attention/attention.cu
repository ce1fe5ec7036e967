// Softmax attention over sinks and window with one softmax over both. Many rows that stand beside others of
// their slot are attended for together, the others each for itself; softmax.h says why a row's bits are the
// same either way.
#include <algorithm>
#include <stdexcept>

#include "kernels/cuda/attention/task.h"
#include "kernels/cuda/operations.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr std::int64_t kFewRows = 16;  // which are attended for each for itself, whatever stands beside
constexpr std::int64_t kAlignment = 256;

// The most splits that a row can have: a stretch of n positions touches one more than it fills, and one.
int most_splits(const CacheLayerView& cache) {
  const std::int64_t of_sinks = ceil_divide<std::int64_t>(cache.sink_capacity, kSplitKeys);
  return static_cast<int>(of_sinks + (cache.ring_capacity + kSplitKeys - 2) / kSplitKeys + 1);
}

struct Scratch {
  Address address;
  std::int64_t bytes;
};

// Rows for themselves, as many of them at a time as `scratch` has room for the splits of; if it has not for
// all heads of one, some heads at a time.
void attend_rows_apart(const Device& device, const AttentionTask& task, const RowPlan& plan,
                       const Scratch& scratch) {
  const int tiles = head_tiles(task.shard);
  SplitResults results{.splits = most_splits(task.cache), .heads = heads_per_tile(task.shard)};
  const std::int64_t heads_of_tile = std::int64_t{results.splits} * results.heads;
  const std::int64_t tile_bytes =
      heads_of_tile * (std::int64_t{sizeof(Softmax)} + task.cache.head_dim * std::int64_t{sizeof(float)});
  const std::int64_t room = (scratch.bytes - kAlignment) / tile_bytes;  // tiles
  if (room < 1) {
    throw std::runtime_error("attention: the workspace is too small for the splits of one row");
  }
  const auto tiles_at_once = static_cast<int>(std::min<std::int64_t>(room, tiles));
  const auto rows_at_once = static_cast<int>(std::min<std::int64_t>(room / tiles_at_once, task.num_rows));
  const std::int64_t softmax_bytes =
      ceil_divide(rows_at_once * tiles_at_once * heads_of_tile * std::int64_t{sizeof(Softmax)},
                  kAlignment / 2) *
      (kAlignment / 2);
  results.softmaxes = device_pointer<Softmax>(scratch.address);
  results.sums = device_pointer<float>(scratch.address + softmax_bytes);
  for (int row = 0; row < task.num_rows; row += rows_at_once) {
    results.first_row = row;
    results.rows = std::min(rows_at_once, task.num_rows - row);
    for (int tile = 0; tile < tiles; tile += tiles_at_once) {
      results.first_tile = tile;
      results.tiles = std::min(tiles_at_once, tiles - tile);
      attend_splits(device, task, plan, results);
      merge_splits(device, task, plan, results);
    }
  }
}

}  // namespace

void attention(const Device& device, DeviceSpan<const AttentionRow> rows, ConstMatrix window_queries,
               ConstMatrix sink_queries, const CacheLayerView& cache, const HeadShard& shard, float scale,
               Vector alibi_slopes, Matrix out) {
  if (rows.empty()) return;
  if (cache.ring_capacity > INT32_MAX)
    throw std::invalid_argument("attention: the ring is too long for this backend");
  const AttentionTask task{
      .rows = device_pointer<const AttentionRow>(rows.data),
      .num_rows = static_cast<int>(rows.size),
      .window_queries = device_pointer<const float>(window_queries.data),
      .sink_queries = device_pointer<const float>(sink_queries.data),
      .alibi_slopes = alibi_slopes.empty() ? nullptr : device_pointer<const float>(alibi_slopes.data),
      .out = device_pointer<float>(out.data),
      .cache = cache,
      .shard = shard,
      .scale = scale * kLog2OfE,
  };
  if (rows.size <= kFewRows || !attends_in_runs(cache.head_dim)) {
    attend_rows_apart(device, task, RowPlan(), {device.workspace, device.workspace_bytes});
    return;
  }
  const std::int64_t plan_bytes = ceil_divide(row_plan_bytes(rows.size), kAlignment) * kAlignment;
  const RowPlan plan = plan_rows(device, task, device.workspace);
  attend_runs(device, task, plan);
  attend_rows_apart(device, task, plan, {device.workspace + plan_bytes, device.workspace_bytes - plan_bytes});
}

}  // namespace sinkstream::kernels::cuda
