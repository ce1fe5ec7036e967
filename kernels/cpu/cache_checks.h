// Checks that the operations on the cache share.
#pragma once

#include "kernels/cpu/checks.h"

namespace sinkstream::kernels {

inline void check_cache(const Checks& check, const CacheLayerView& cache) {
  check.f32_or_bf16("cache.ring_dtype", cache.ring_dtype);
  check.range("cache.local_kv_heads", cache.local_kv_heads, 0, INT32_MAX);
  check.range("cache.head_dim", cache.head_dim, 1, INT32_MAX);
  check.range("cache.sink_capacity", cache.sink_capacity, 0, INT64_MAX);
  check.range("cache.ring_capacity", cache.ring_capacity, 1, INT64_MAX);
}

inline void check_cached_position(const Checks& check, const AttentionRow& row, const CacheLayerView& cache) {
  check.range("row.slot", row.slot, 0, cache.num_slots - 1);
  check.range("row.position", row.position, 0, INT64_MAX);
}

}  // namespace sinkstream::kernels
