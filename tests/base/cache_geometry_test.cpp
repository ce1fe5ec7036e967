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

// A session's ring as a list of places: which position each holds.
class NaiveRing {
 public:
  explicit NaiveRing(std::int64_t capacity) : places_(static_cast<std::size_t>(capacity), -1) {}

  std::int64_t seen() const { return seen_; }
  std::int64_t written() const { return written_; }
  void take_in() {
    places_[static_cast<std::size_t>(seen_ % std::ssize(places_))] = seen_;
    written_ = std::max(written_, ++seen_);
  }
  // Whether a token at `length`, which it overwrites something with, finds all that it attends to.
  bool has_all_for(std::int64_t length, const CacheWindow& window) const {
    for (const std::int64_t p : attended(length, window)) {
      const bool is_sink = p < sinks_end(length, window);  // in the sinks' array, which keeps it
      if (p != length && !is_sink && std::ranges::find(places_, p) == places_.end()) return false;
    }
    return true;
  }
  void roll_back(std::int64_t length) { seen_ = length; }

 private:
  std::vector<std::int64_t> places_;
  std::int64_t seen_ = 0;
  std::int64_t written_ = 0;
};

// Calls body with every small window and a ring that holds it.
template <typename Body>
void for_each_small_ring(std::int64_t largest, const Body& body) {
  for (std::int64_t sinks = 0; sinks <= 3; ++sinks) {
    for (std::int64_t size = 1; size <= largest; ++size) {
      for (std::int64_t capacity = size; capacity <= size + largest; ++capacity) {
        SCOPED_TRACE("S " + std::to_string(sinks) + " W " + std::to_string(size) + " R " +
                     std::to_string(capacity));
        body(CacheWindow{sinks, size}, capacity);
      }
    }
  }
}

TEST(CacheGeometry, ASessionCanRollBackWhereItsRingHasAllThatIsNeeded) {
  for_each_small_ring(6, [](const CacheWindow& window, std::int64_t capacity) {
    NaiveRing ring(capacity);
    for (std::int64_t seen = 0; seen <= 3 * capacity + 2; ++seen) {
      for (std::int64_t length = 0; length <= seen; ++length) {
        ASSERT_EQ(can_roll_back(seen, length, window, capacity), ring.has_all_for(length, window))
            << "from " << seen << " to " << length;
      }
      EXPECT_FALSE(can_roll_back(seen, -1, window, capacity));
      EXPECT_FALSE(can_roll_back(seen, seen + 1, window, capacity));
      ring.take_in();
    }
  });
}

// From wherever it is, also after it went back and on by any number of tokens: never a wrong yes.
TEST(CacheGeometry, ASessionThatRolledBackCanDoSoAgain) {
  for_each_small_ring(3, [](const CacheWindow& window, std::int64_t capacity) {
    for (std::int64_t written = 0; written <= 2 * capacity + 2; ++written) {
      NaiveRing first(capacity);
      while (first.seen() < written) first.take_in();
      for (std::int64_t length = 0; length <= written; ++length) {
        if (!can_roll_back(written, length, window, capacity)) continue;
        NaiveRing again = first;
        again.roll_back(length);
        for (int more = 0; more <= 5; ++more, again.take_in()) {
          for (std::int64_t next = 0; next <= again.seen(); ++next) {
            if (can_roll_back(again.written(), next, window, capacity)) {
              ASSERT_TRUE(again.has_all_for(next, window))
                  << "from " << written << " to " << length << ", on by " << more << ", to " << next;
            }
          }
        }
      }
    }
  });
}

TEST(CacheGeometry, SoManyTokensCanAlwaysBeTakenBackAndNoMore) {
  for_each_small_ring(6, [](const CacheWindow& window, std::int64_t capacity) {
    const std::int64_t reach = roll_back_reach(window, capacity);
    bool always = true, one_more = true;
    for (std::int64_t seen = 0; seen <= 4 * capacity; ++seen) {
      for (std::int64_t back = 0; back <= std::min(reach, seen); ++back) {
        always = always && can_roll_back(seen, seen - back, window, capacity);
      }
      if (seen > reach) one_more = one_more && can_roll_back(seen, seen - reach - 1, window, capacity);
      ASSERT_TRUE(seen > capacity || can_roll_back(seen, 0, window, capacity))
          << "nothing is overwritten yet";
    }
    EXPECT_TRUE(always);
    EXPECT_EQ(one_more, window.window_tokens == 1) << "which needs nothing of the past";
  });
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
    EXPECT_TRUE(can_roll_back(position, position - 129, window, 380));
    EXPECT_FALSE(can_roll_back(position, position - 130, window, 380));
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

// Which layers' keys of which positions are as they would be, when tokens [sinks, begin) were left out.
class ReplayedKeys {
 public:
  ReplayedKeys(std::int64_t begin, std::int64_t length, CacheWindow window, std::int64_t layers)
      : window_(window), right_(static_cast<std::size_t>(layers)) {
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      std::vector<bool>& right = right_[static_cast<std::size_t>(layer)];
      right.resize(static_cast<std::size_t>(length));
      for (std::int64_t p = 0; p < length; ++p) {
        const bool is_there = p < window.sink_tokens || p >= begin;
        right[static_cast<std::size_t>(p)] = is_there && (layer == 0 || sees_right(p, layer - 1, p));
      }
    }
  }
  // Whether a token at `length` comes out as it would have.
  bool is_sound(std::int64_t length) const { return sees_right(length, std::ssize(right_) - 1, length - 1); }

 private:
  // Of what a token at `position` attends to in a layer, up to `last`.
  bool sees_right(std::int64_t position, std::int64_t layer, std::int64_t last) const {
    const auto& right = right_[static_cast<std::size_t>(layer)];
    for (std::int64_t p = 0; p <= last; ++p) {
      const bool is_attended = p < sinks_end(position, window_) || p >= window_begin(position, window_);
      if (is_attended && !right[static_cast<std::size_t>(p)]) return false;
    }
    return true;
  }

  CacheWindow window_;
  std::vector<std::vector<bool>> right_;
};

TEST(CacheGeometry, AReplayTakesInWhatTheStateDependsOnAndNoMore) {
  for (std::int64_t sinks = 0; sinks <= 3; ++sinks) {
    for (std::int64_t size = 1; size <= 5; ++size) {
      for (std::int64_t layers = 1; layers <= 4; ++layers) {
        const CacheWindow window{sinks, size};
        for (std::int64_t length = 1; length <= 32; ++length) {
          for (std::int64_t reach = 0; reach <= std::min<std::int64_t>(3, length); ++reach) {
            SCOPED_TRACE(testing::Message()
                         << sinks << " " << size << " " << layers << " " << length << " " << reach);
            const std::int64_t begin = replay_begin(length, reach, window, layers);
            ASSERT_GE(begin, std::min(sinks, length));
            ASSERT_LE(begin, length);
            const ReplayedKeys keys(begin, length, window, layers);
            ASSERT_LE(sound_from(begin, window, layers), length - reach);
            for (std::int64_t back = 0; back <= reach; ++back)
              ASSERT_TRUE(keys.is_sound(length - back)) << back;
            if (begin <= sinks) continue;  // nothing is left out
            ASSERT_EQ(sound_from(begin, window, layers), length - reach);
            if (size == 1) continue;  // a token depends on itself alone
            ASSERT_FALSE(ReplayedKeys(begin + 1, length, window, layers).is_sound(length - reach));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace sinkstream
