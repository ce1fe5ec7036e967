// Where keys and values stand in a layer's cache. All that reads or writes one counts with these functions.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/types.h"

namespace sinkstream::kernels {

// Bytes, of which the distances between the arrays of the cache are multiples: a cache line.
inline constexpr std::int64_t kCacheAlignment = 64;

// A position's place in a ring. Positions count from 0 and never wrap; places do.
constexpr std::int64_t ring_index(std::int64_t position, std::int64_t ring_capacity) {
  return position % ring_capacity;
}

// Elements of a ring from a head to the next.
constexpr std::int64_t ring_stride(CacheType type, std::int64_t head_dim) {
  return head_dim + (type == CacheType::int8 ? std::int64_t{sizeof(float)} : 0);
}
// Bytes of a head in a ring.
constexpr std::int64_t ring_head_bytes(CacheType type, std::int64_t head_dim) {
  const std::int64_t element = type == CacheType::f32 ? 4 : type == CacheType::bf16 ? 2 : 1;
  return ring_stride(type, head_dim) * element;
}

// Bytes that the heads of so many neighbouring places take up.
constexpr std::int64_t sink_bytes(const CacheLayerView& cache, std::int64_t places) {
  return places * cache.head_dim * std::int64_t{sizeof(float)};
}
constexpr std::int64_t ring_bytes(const CacheLayerView& cache, std::int64_t places) {
  return places * ring_head_bytes(cache.ring_type, cache.head_dim);
}

// What a slot's KV head has in each of a layer's arrays: its heads of all positions. Counted once for all
// positions.
struct CachePlane {
  Address sink_keys = Address::none;
  Address sink_values = Address::none;
  Address ring_keys = Address::none;
  Address ring_values = Address::none;
};

constexpr CachePlane cache_plane(const CacheLayerView& cache, std::int64_t slot, std::int64_t local_kv_head) {
  const std::int64_t before = slot * cache.slot_stride_bytes;
  const std::int64_t in_sinks = before + sink_bytes(cache, local_kv_head * cache.sink_capacity);
  const std::int64_t in_ring = before + ring_bytes(cache, local_kv_head * cache.ring_capacity);
  return {cache.sink_keys + in_sinks, cache.sink_values + in_sinks, cache.ring_keys + in_ring,
          cache.ring_values + in_ring};
}

// Elements before a position's head in a plane of the sinks; position < sink_capacity.
constexpr std::int64_t sink_offset(const CacheLayerView& cache, std::int64_t position) {
  return position * cache.head_dim;
}

// Elements before a position's head in a plane of the ring.
constexpr std::int64_t ring_offset(const CacheLayerView& cache, std::int64_t position) {
  return ring_index(position, cache.ring_capacity) * ring_stride(cache.ring_type, cache.head_dim);
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
