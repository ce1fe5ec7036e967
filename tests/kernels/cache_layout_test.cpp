#include "kernels/cache_layout.h"

#include <gtest/gtest.h>

#include <vector>

namespace sinkstream::kernels {
namespace {

// Marks the bytes of each head in a region with the arrays of three slots, one behind the other.
void expect_places_of_their_own(CacheType type) {
  constexpr std::int64_t kSlots = 3, kHeads = 2, kSinks = 4, kRing = 5, kHeadDim = 7;
  constexpr std::int64_t kSinkBytes = kHeads * kSinks * kHeadDim * 4, kRoom = 40;
  const std::int64_t element = type == CacheType::f32 ? 4 : type == CacheType::bf16 ? 2 : 1;
  const std::int64_t head_bytes = kHeadDim * element + (type == CacheType::int8 ? 4 : 0);
  const std::int64_t ring_bytes = kHeads * kRing * head_bytes,
                     stride = 2 * kSinkBytes + 2 * ring_bytes + kRoom;
  constexpr Address kBegin{1000};
  const CacheLayerView cache{.sink_keys = kBegin,
                             .sink_values = kBegin + kSinkBytes,
                             .ring_keys = kBegin + 2 * kSinkBytes,
                             .ring_values = kBegin + (2 * kSinkBytes + ring_bytes),
                             .ring_type = type,
                             .num_slots = kSlots,
                             .slot_stride_bytes = stride,
                             .local_kv_heads = kHeads,
                             .sink_capacity = kSinks,
                             .ring_capacity = kRing,
                             .head_dim = kHeadDim};
  std::vector<int> uses(kSlots * stride);
  const auto use = [&](Address plane, std::int64_t offset, std::int64_t bytes) {
    const std::int64_t first = static_cast<std::int64_t>(plane) - static_cast<std::int64_t>(kBegin) + offset;
    for (std::int64_t byte = first; byte < first + bytes; ++byte) ++uses.at(byte);
  };
  for (std::int64_t slot = 0; slot < kSlots; ++slot) {
    for (std::int64_t head = 0; head < kHeads; ++head) {
      const CachePlane plane = cache_plane(cache, slot, head);
      for (const Address sinks : {plane.sink_keys, plane.sink_values}) {
        for (std::int64_t p = 0; p < kSinks; ++p) use(sinks, sink_offset(cache, p) * 4, kHeadDim * 4);
      }
      for (const Address ring : {plane.ring_keys, plane.ring_values}) {
        for (std::int64_t p = 100; p < 100 + kRing; ++p)
          use(ring, ring_offset(cache, p) * element, head_bytes);
      }
    }
  }
  for (std::int64_t byte = 0; byte < std::ssize(uses); ++byte) {
    EXPECT_EQ(uses[byte], byte % stride < stride - kRoom ? 1 : 0) << byte;
  }
}

TEST(CacheLayout, EverySlotsHeadHasAPlaceOfItsOwn) {
  for (const CacheType type : {CacheType::f32, CacheType::bf16, CacheType::int8}) {
    SCOPED_TRACE(name_of(type));
    expect_places_of_their_own(type);
  }
}

TEST(CacheLayout, FarPositionsDoNotWrap) {
  const CacheLayerView cache{.num_slots = 1, .local_kv_heads = 1, .ring_capacity = 380, .head_dim = 2};
  for (const std::int64_t position :
       {(std::int64_t{1} << 31) - 1, std::int64_t{1} << 31, (std::int64_t{1} << 53) + 1}) {
    EXPECT_EQ(ring_index(position + 380, 380), ring_index(position, 380));
    EXPECT_EQ((ring_index(position + 1, 380) + 379) % 380, ring_index(position, 380));
    EXPECT_EQ(ring_offset(cache, position), 2 * ring_index(position, 380));
  }
}

TEST(CacheLayout, PiecesAreThePositionsInOrder) {
  for (std::int64_t capacity = 1; capacity <= 9; ++capacity) {
    for (std::int64_t first = 0; first <= 20; ++first) {
      for (std::int64_t count = 1; count <= capacity; ++count) {
        std::vector<std::int64_t> places, expected;
        for (const RingPiece& piece : ring_pieces(first, count, capacity)) {
          for (std::int64_t i = 0; i < piece.count; ++i) places.push_back(piece.first + i);
        }
        for (std::int64_t p = first; p < first + count; ++p) expected.push_back(ring_index(p, capacity));
        ASSERT_EQ(places, expected) << first << " + " << count << " in " << capacity;
      }
    }
  }
}

}  // namespace
}  // namespace sinkstream::kernels
