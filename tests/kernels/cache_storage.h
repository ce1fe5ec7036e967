// A layer's cache that owns its memory.
#pragma once

#include <algorithm>

#include "support.h"

namespace sinkstream::kernels {

struct CacheShape {
  DType ring_dtype = DType::f32;
  int num_slots = 1;
  int local_kv_heads = 1;
  std::int64_t sink_capacity = 0;
  std::int64_t ring_capacity = 1;
  int head_dim = 1;
};

class CacheStorage {
 public:
  explicit CacheStorage(const CacheShape& shape)
      : shape_(shape),
        sink_keys(elements(shape.sink_capacity), kUnwritten),
        sink_values(sink_keys),
        ring_keys(shape.ring_dtype == DType::f32 ? elements(shape.ring_capacity) : 0, kUnwritten),
        ring_values(ring_keys),
        narrow_ring_keys(shape.ring_dtype == DType::bf16 ? elements(shape.ring_capacity) : 0,
                         to_bfloat16(kUnwritten)),
        narrow_ring_values(narrow_ring_keys) {}

  CacheLayerView view() {
    const bool wide = shape_.ring_dtype == DType::f32;
    return {.sink_keys = sink_keys.data(),
            .sink_values = sink_values.data(),
            .ring_keys = wide ? static_cast<void*>(ring_keys.data()) : narrow_ring_keys.data(),
            .ring_values = wide ? static_cast<void*>(ring_values.data()) : narrow_ring_values.data(),
            .ring_dtype = shape_.ring_dtype,
            .num_slots = shape_.num_slots,
            .local_kv_heads = shape_.local_kv_heads,
            .sink_capacity = shape_.sink_capacity,
            .ring_capacity = shape_.ring_capacity,
            .head_dim = shape_.head_dim};
  }

 private:
  static constexpr float kUnwritten = 1e9f;  // ruins any result that reads it

  std::size_t elements(std::int64_t capacity) const {
    return static_cast<std::size_t>(shape_.num_slots * shape_.local_kv_heads * capacity * shape_.head_dim);
  }

  CacheShape shape_;

 public:
  std::vector<float> sink_keys;
  std::vector<float> sink_values;
  std::vector<float> ring_keys;
  std::vector<float> ring_values;
  std::vector<bfloat16> narrow_ring_keys;
  std::vector<bfloat16> narrow_ring_values;
};

// The row of a token in a session with `sinks` sink tokens and a window of `window`.
inline AttentionRow row_at(std::int32_t slot, std::int64_t position, std::int64_t sinks,
                           std::int64_t window) {
  const std::int64_t begin = std::max<std::int64_t>(0, position - window + 1);
  return {.slot = slot, .position = position, .window_begin = begin, .sinks_end = std::min(sinks, begin)};
}

}  // namespace sinkstream::kernels
