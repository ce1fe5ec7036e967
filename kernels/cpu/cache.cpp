// Writes keys and values into the cache.
#include <algorithm>

#include "kernels/cpu/cache_checks.h"
#include "kernels/cpu/work.h"
#include "kernels/ops.h"
#include "kernels/thread_pool.h"

namespace sinkstream::kernels {
namespace {

void copy_to_ring(std::span<const float> from, DType ring_dtype, void* ring, std::int64_t offset) {
  if (ring_dtype == DType::f32) {
    std::ranges::copy(from, static_cast<float*>(ring) + offset);
  } else {
    std::ranges::transform(from, static_cast<bfloat16*>(ring) + offset, to_bfloat16);
  }
}

void write_head(const AttentionRow& row, int kv_head, std::span<const float> key,
                std::span<const float> value, const CacheLayerView& cache) {
  const std::int64_t plane = static_cast<std::int64_t>(row.slot) * cache.local_kv_heads + kv_head;
  const std::int64_t ring_index = plane * cache.ring_capacity + row.position % cache.ring_capacity;
  copy_to_ring(key, cache.ring_dtype, cache.ring_keys, ring_index * cache.head_dim);
  copy_to_ring(value, cache.ring_dtype, cache.ring_values, ring_index * cache.head_dim);
  if (row.position >= cache.sink_capacity) return;
  const std::int64_t sink_offset = (plane * cache.sink_capacity + row.position) * cache.head_dim;
  std::ranges::copy(key, cache.sink_keys + sink_offset);
  std::ranges::copy(value, cache.sink_values + sink_offset);
}

}  // namespace

void write_cache(Context& context, std::span<const AttentionRow> rows, ConstMatrix keys, ConstMatrix values,
                 std::int64_t first_value_column, const CacheLayerView& cache) {
  const Checks check("write_cache");
  const std::int64_t width = static_cast<std::int64_t>(cache.local_kv_heads) * cache.head_dim;
  check_cache(check, cache);
  check.equal("keys.rows", keys.rows, "rows", std::ssize(rows));
  check.equal("values.rows", values.rows, "rows", std::ssize(rows));
  check.equal("keys.cols", keys.cols, "local_kv_heads * head_dim", width);
  check.range("first_value_column", first_value_column, 0, values.cols - width);
  for (const AttentionRow& row : rows) check_cached_position(check, row, cache);

  // Cut by heads, not by rows, so that rows are written in order.
  const std::int64_t grain = items_per_part(2 * keys.rows * cache.head_dim);
  context.threads.parallel_for(cache.local_kv_heads, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = 0; r < keys.rows; ++r) {
      for (std::int64_t head = begin; head < end; ++head) {
        const std::int64_t column = head * cache.head_dim;
        write_head(rows[r], static_cast<int>(head), keys.row(r).subspan(column, cache.head_dim),
                   values.row(r).subspan(first_value_column + column, cache.head_dim), cache);
      }
    }
  });
}

}  // namespace sinkstream::kernels
