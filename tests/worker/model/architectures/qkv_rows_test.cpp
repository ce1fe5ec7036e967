#include "worker/model/architectures/qkv_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace sinkstream {
namespace {

using testing::ElementsAre;

// What a row of a stored tensor is, by the layout's definition: 'q', 'k' or 'v' of a head, and the feature.
struct Meaning {
  char kind;
  std::int64_t head, feature;
  bool operator==(const Meaning&) const = default;
};

std::vector<Meaning> meaning_of_rows(QkvLayout layout, const HeadSizes& sizes) {
  std::vector<Meaning> rows;
  const auto add = [&](char kind, std::int64_t head) {
    for (std::int64_t i = 0; i < sizes.head_dim; ++i) rows.push_back({kind, head, i});
  };
  if (layout == QkvLayout::stacked) {
    for (std::int64_t head = 0; head < sizes.num_heads; ++head) add('q', head);
    for (std::int64_t head = 0; head < sizes.num_kv_heads; ++head) add('k', head);
    for (std::int64_t head = 0; head < sizes.num_kv_heads; ++head) add('v', head);
  } else {
    const std::int64_t group = sizes.num_heads / sizes.num_kv_heads;
    for (std::int64_t kv_head = 0; kv_head < sizes.num_kv_heads; ++kv_head) {
      for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) add('q', head);
      add('k', kv_head);
      add('v', kv_head);
    }
  }
  return rows;
}

void expect_rows(const std::vector<Meaning>& stored, const std::vector<Range>& ranges, char kind, Range heads,
                 std::int64_t head_dim) {
  std::vector<Meaning> taken, wanted;
  for (const Range& range : ranges) {
    EXPECT_GT(range.size(), 0);
    for (std::int64_t row = range.begin; row < range.end; ++row)
      taken.push_back(stored.at(static_cast<std::size_t>(row)));
  }
  for (std::int64_t head = heads.begin; head < heads.end; ++head) {
    for (std::int64_t i = 0; i < head_dim; ++i) wanted.push_back({kind, head, i});
  }
  EXPECT_TRUE(taken == wanted) << kind;
}

TEST(QkvRows, EveryRankGetsItsHeadsInOrder) {
  for (const QkvLayout layout : {QkvLayout::stacked, QkvLayout::grouped}) {
    for (const HeadSizes& sizes :
         {HeadSizes{1, 1, 3}, {4, 4, 2}, {6, 1, 2}, {6, 3, 1}, {12, 4, 5}, {71, 1, 2}, {16, 2, 3}}) {
      const std::vector<Meaning> stored = meaning_of_rows(layout, sizes);
      EXPECT_EQ(stored_query_rows(layout, sizes), std::ssize(stored));
      EXPECT_EQ(stored_key_rows(layout, sizes), std::ssize(stored));
      for (int ranks = 1; ranks <= sizes.num_heads; ++ranks) {
        for (int rank = 0; rank < ranks; ++rank) {
          SCOPED_TRACE(testing::Message() << sizes.num_heads << " heads, " << sizes.num_kv_heads
                                          << " KV heads, rank " << rank << " of " << ranks);
          const ShardPlan plan =
              make_shard_plan({sizes.num_heads, sizes.num_kv_heads, ranks, 1}, ranks, rank);
          const QkvRows rows = qkv_rows(layout, sizes, plan.heads, plan.kv_heads);
          expect_rows(stored, rows.queries, 'q', plan.heads, sizes.head_dim);
          expect_rows(stored, rows.keys, 'k', plan.kv_heads, sizes.head_dim);
          expect_rows(stored, rows.values, 'v', plan.kv_heads, sizes.head_dim);
        }
      }
    }
  }
}

TEST(QkvRows, SeparateTensorsEachBeginAtZero) {
  const HeadSizes sizes{8, 4, 10};
  const QkvRows rows = qkv_rows(QkvLayout::separate, sizes, {3, 5}, {1, 3});
  EXPECT_THAT(rows.queries, ElementsAre(Range{30, 50}));
  EXPECT_THAT(rows.keys, ElementsAre(Range{10, 30}));
  EXPECT_THAT(rows.values, ElementsAre(Range{10, 30}));
  EXPECT_EQ(stored_query_rows(QkvLayout::separate, sizes), 80);
  EXPECT_EQ(stored_key_rows(QkvLayout::separate, sizes), 40);
}

TEST(QkvRows, NeighboursAreJoined) {
  const QkvRows rows = qkv_rows(QkvLayout::grouped, {8, 2, 10}, {1, 6}, {0, 2});
  EXPECT_THAT(rows.queries, ElementsAre(Range{10, 40}, Range{60, 80}));
  EXPECT_THAT(rows.keys, ElementsAre(Range{40, 50}, Range{100, 110}));
  EXPECT_THAT(rows.values, ElementsAre(Range{50, 60}, Range{110, 120}));
}

}  // namespace
}  // namespace sinkstream
