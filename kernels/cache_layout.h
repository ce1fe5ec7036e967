// Where keys and values stand in a layer's cache. All that reads or writes one counts with these functions.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/types.h"

namespace sinkstream::kernels {

// A position's place in a ring. Positions count from 0 and never wrap; places do.
constexpr std::int64_t ring_index(std::int64_t position, std::int64_t ring_capacity) {
  return position % ring_capacity;
}

// Which [capacity, head_dim] of the cache's arrays is that of a slot's KV head.
constexpr std::int64_t cache_plane(const CacheLayerView& cache, std::int64_t slot,
                                   std::int64_t local_kv_head) {
  return slot * cache.local_kv_heads + local_kv_head;
}

// Elements before a position's head in the arrays of the sinks; position < sink_capacity.
constexpr std::int64_t sink_offset(const CacheLayerView& cache, std::int64_t plane, std::int64_t position) {
  return (plane * cache.sink_capacity + position) * cache.head_dim;
}

// Elements before a position's head in the arrays of the ring.
constexpr std::int64_t ring_offset(const CacheLayerView& cache, std::int64_t plane, std::int64_t position) {
  return (plane * cache.ring_capacity + ring_index(position, cache.ring_capacity)) * cache.head_dim;
}

// Neighbours in a ring.
struct RingPiece {
  std::int64_t first = 0;  // place of the first
  std::int64_t count = 0;
};

// `count` positions from `first_position` on: up to the ring's end, then from its start (often none).
constexpr std::array<RingPiece, 2> ring_pieces(std::int64_t first_position, std::int64_t count,
                                               std::int64_t ring_capacity) {
  const std::int64_t first = ring_index(first_position, ring_capacity);
  const std::int64_t until_wrap = std::min(count, ring_capacity - first);
  return {RingPiece{first, until_wrap}, RingPiece{0, count - until_wrap}};
}

}  // namespace sinkstream::kernels
