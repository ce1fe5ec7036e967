// The position arithmetic against a cache that is a list: append, drop the oldest beyond the sinks, count.
#include "base/cache_geometry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/session_usage.h"
#include "kernels/cache_layout.h"

namespace sinkstream {
namespace {

// What a token fed alone would find: the positions kept in order, its own last.
class NaiveCache {
 public:
  explicit NaiveCache(const CacheWindow& window) : window_(window) {}

  const std::vector<std::int64_t>& add(std::int64_t position) {
    kept_.push_back(position);
    if (static_cast<std::int64_t>(kept_.size()) > window_.sink_tokens + window_.window_tokens) {
      kept_.erase(kept_.begin() + window_.sink_tokens);
    }
    return kept_;
  }

 private:
  CacheWindow window_;
  std::vector<std::int64_t> kept_;
};

std::vector<std::int64_t> attended(std::int64_t position, const CacheWindow& window) {
  std::vector<std::int64_t> positions;
  for (std::int64_t s = 0; s < sinks_end(position, window); ++s) positions.push_back(s);
  for (std::int64_t p = window_begin(position, window); p <= position; ++p) positions.push_back(p);
  return positions;
}

TEST(CacheGeometry, EqualsAListForEveryWindowAndPosition) {
  for (std::int64_t sinks = 0; sinks <= 7; ++sinks) {
    for (std::int64_t size = 1; size <= 7; ++size) {
      const CacheWindow window{sinks, size};
      NaiveCache cache(window);
      for (std::int64_t position = 0; position < 40; ++position) {
        SCOPED_TRACE("S " + std::to_string(sinks) + " W " + std::to_string(size) + " p " +
                     std::to_string(position));
        const std::vector<std::int64_t>& kept = cache.add(position);
        ASSERT_EQ(attended(position, window), kept);
        ASSERT_EQ(position_within_cache(position, window), static_cast<std::int64_t>(kept.size()) - 1);
        ASSERT_EQ(position_within_cache(position, window), std::min(position, sinks + size - 1));
        ASSERT_LE(sinks_end(position, window), window_begin(position, window)) << "nothing is attended twice";

        const SessionUsage usage = session_usage(position + 1, window);
        ASSERT_EQ(usage.seen_tokens, position + 1);
        ASSERT_EQ(usage.resident_tokens, static_cast<std::int64_t>(kept.size()));
        ASSERT_EQ(usage.pinned_tokens, std::ranges::count_if(kept, [&](auto p) { return p < sinks; }));
        ASSERT_EQ(usage.evicted_tokens, position + 1 - usage.resident_tokens);
      }
    }
  }
}

// A sink's distance from the query, and a window key's, as an explicit re-rotation by place in the list has
// them.
TEST(CacheGeometry, DistancesEqualThoseOfPlacesInAList) {
  for (const CacheWindow window : {CacheWindow{4, 9}, {0, 1}, {5, 1}, {0, 6}, {9, 4}}) {
    NaiveCache cache(window);
    for (std::int64_t position = 0; position < 50; ++position) {
      const std::vector<std::int64_t>& kept = cache.add(position);
      const auto own_place = static_cast<std::int64_t>(kept.size()) - 1;
      for (std::int64_t place = 0; place <= own_place; ++place) {
        const std::int64_t key = kept[static_cast<std::size_t>(place)];
        const bool is_sink = key < sinks_end(position, window);
        const std::int64_t distance = (is_sink ? position_within_cache(position, window) : position) - key;
        ASSERT_EQ(distance, own_place - place);
      }
    }
  }
}

// In a ring of W + slack, a step of up to slack + 1 tokens never overwrites what its own rows attend to.
TEST(CacheGeometry, AStepOfSlackTokensKeepsEveryWindowInTheRing) {
  for (std::int64_t size = 1; size <= 6; ++size) {
    for (std::int64_t slack = 0; slack <= 6; ++slack) {
      const std::int64_t capacity = ring_capacity(size, slack);
      std::vector<std::int64_t> ring(static_cast<std::size_t>(capacity), -1);
      std::int64_t written = 0;
      for (int step = 0; step < 12; ++step) {
        const std::int64_t first = written;
        for (; written <= first + slack; ++written) {
          ring[static_cast<std::size_t>(kernels::ring_index(written, capacity))] = written;
        }
        for (std::int64_t position = first; position < written; ++position) {
          for (std::int64_t p = window_begin(position, {0, size}); p <= position; ++p) {
            ASSERT_EQ(ring[static_cast<std::size_t>(kernels::ring_index(p, capacity))], p);
          }
        }
      }
    }
  }
}

TEST(CacheGeometry, FarPositionsDoNotWrap) {
  const CacheWindow window{4, 252};
  for (const std::int64_t position : {(std::int64_t{1} << 31) - 1, std::int64_t{1} << 31,
                                      (std::int64_t{1} << 32) + 5, (std::int64_t{1} << 53) + 1}) {
    EXPECT_EQ(window_begin(position, window), position - 251);
    EXPECT_EQ(sinks_end(position, window), 4);
    EXPECT_EQ(position_within_cache(position, window), 255);
    EXPECT_EQ((kernels::ring_index(position + 1, 380) + 379) % 380, kernels::ring_index(position, 380));
    EXPECT_EQ(session_usage(position, window).evicted_tokens, position - 256);
  }
}

TEST(CacheGeometry, DenseAttentionIsAWindowThatHoldsEverything) {
  const CacheWindow dense{0, 512};
  for (std::int64_t position = 0; position < 512; ++position) {
    EXPECT_EQ(window_begin(position, dense), 0);
    EXPECT_EQ(sinks_end(position, dense), 0);
    EXPECT_EQ(position_within_cache(position, dense), position);
  }
}

}  // namespace
}  // namespace sinkstream
