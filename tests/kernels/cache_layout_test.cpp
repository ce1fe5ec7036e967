#include "kernels/cache_layout.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace sinkstream::kernels {
namespace {

TEST(CacheLayout, EverySlotsHeadHasAPlaceOfItsOwn) {
  const CacheLayerView cache{
      .num_slots = 3, .local_kv_heads = 2, .sink_capacity = 4, .ring_capacity = 5, .head_dim = 7};
  std::set<std::int64_t> sinks, ring;
  for (int slot = 0; slot < 3; ++slot) {
    for (int head = 0; head < 2; ++head) {
      const std::int64_t plane = cache_plane(cache, slot, head);
      for (std::int64_t p = 0; p < 4; ++p) sinks.insert(sink_offset(cache, plane, p));
      for (std::int64_t p = 100; p < 105; ++p) ring.insert(ring_offset(cache, plane, p));
    }
  }
  ASSERT_EQ(sinks.size(), 24u);
  ASSERT_EQ(ring.size(), 30u);
  for (const auto& [offsets, places] : {std::pair{sinks, 24}, {ring, 30}}) {
    EXPECT_EQ(*offsets.begin(), 0);
    EXPECT_EQ(*offsets.rbegin(), (places - 1) * 7);
    for (const std::int64_t offset : offsets) EXPECT_EQ(offset % 7, 0);
  }
}

TEST(CacheLayout, FarPositionsDoNotWrap) {
  const CacheLayerView cache{.num_slots = 1, .local_kv_heads = 1, .ring_capacity = 380, .head_dim = 2};
  for (const std::int64_t position :
       {(std::int64_t{1} << 31) - 1, std::int64_t{1} << 31, (std::int64_t{1} << 53) + 1}) {
    EXPECT_EQ(ring_index(position + 380, 380), ring_index(position, 380));
    EXPECT_EQ((ring_index(position + 1, 380) + 379) % 380, ring_index(position, 380));
    EXPECT_EQ(ring_offset(cache, 0, position), 2 * ring_index(position, 380));
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
