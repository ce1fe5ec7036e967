#include "parallel/shard_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace sinkstream {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

void expect_pieces_reassemble(std::int64_t total, int parts, const std::function<Range(int)>& piece) {
  std::int64_t next = 0;
  std::int64_t shortest = total;
  std::int64_t longest = 0;
  for (int i = 0; i < parts; ++i) {
    const Range range = piece(i);
    EXPECT_EQ(range.begin, next);
    EXPECT_GE(range.size(), 0);
    if (i > 0) {
      EXPECT_LE(range.size(), shortest) << "longer pieces come first";
    }
    shortest = std::min(shortest, range.size());
    longest = std::max(longest, range.size());
    next = range.end;
  }
  EXPECT_EQ(next, total);
  EXPECT_LE(longest - shortest, 1);
}

TEST(SplitEvenly, PiecesAreContiguousAndOfNearlyEqualSize) {
  for (std::int64_t total = 0; total <= 40; ++total) {
    for (int parts = 1; parts <= 20; ++parts) {
      SCOPED_TRACE(testing::Message() << total << " in " << parts);
      expect_pieces_reassemble(total, parts, [&](int i) { return split_evenly(total, parts, i); });
    }
  }
}

TEST(SplitEvenly, GivesTheFirstPiecesTheRest) {
  EXPECT_EQ(split_evenly(10, 3, 0), (Range{0, 4}));
  EXPECT_EQ(split_evenly(10, 3, 1), (Range{4, 7}));
  EXPECT_EQ(split_evenly(10, 3, 2), (Range{7, 10}));
  EXPECT_EQ(split_evenly(1, 2, 1), (Range{1, 1}));
}

TEST(SplitEvenly, HandlesSizesBeyond32Bits) {
  const std::int64_t total = (std::int64_t{1} << 40) + 5;
  expect_pieces_reassemble(total, 7, [&](int i) { return split_evenly(total, 7, i); });
}

TEST(SplitEvenly, RefusesPiecesThatDoNotExist) {
  EXPECT_THROW(split_evenly(10, 0, 0), std::invalid_argument);
  EXPECT_THROW(split_evenly(10, 3, 3), std::invalid_argument);
  EXPECT_THROW(split_evenly(10, 3, -1), std::invalid_argument);
  EXPECT_THROW(split_evenly(-1, 3, 0), std::invalid_argument);
}

void check_every_rank(const ShardSizes& sizes, int world_size) {
  SCOPED_TRACE(testing::Message() << sizes.num_heads << "/" << sizes.num_kv_heads << " heads on "
                                  << world_size << " ranks");
  const auto plan = [&](int rank) { return make_shard_plan(sizes, world_size, rank); };
  expect_pieces_reassemble(sizes.num_heads, world_size, [&](int r) { return plan(r).heads; });
  expect_pieces_reassemble(sizes.intermediate_size, world_size, [&](int r) { return plan(r).mlp; });
  expect_pieces_reassemble(sizes.vocab_size, world_size, [&](int r) { return plan(r).vocab; });

  const std::int64_t group = sizes.num_heads / sizes.num_kv_heads;
  for (int r = 0; r < world_size; ++r) {
    const ShardPlan shard = plan(r);
    EXPECT_EQ(shard.rank, r);
    EXPECT_EQ(shard.world_size, world_size);
    EXPECT_GE(shard.heads.size(), 1) << "a rank without heads has nothing to do";
    for (std::int64_t kv = 0; kv < sizes.num_kv_heads; ++kv) {
      bool needed = false;
      for (std::int64_t head = shard.heads.begin; head < shard.heads.end; ++head)
        needed |= head / group == kv;
      const bool held = kv >= shard.kv_heads.begin && kv < shard.kv_heads.end;
      EXPECT_EQ(held, needed) << "rank " << r << ", KV head " << kv;
    }
  }
}

TEST(ShardPlan, EveryShapeUpTo16HeadsOnEveryRankCount) {
  for (std::int64_t heads = 1; heads <= 16; ++heads) {
    for (std::int64_t kv_heads = 1; kv_heads <= heads; ++kv_heads) {
      if (heads % kv_heads != 0) continue;
      for (int world = 1; world <= heads; ++world) {
        check_every_rank({heads, kv_heads, heads * 11 + 3, 101}, world);
      }
    }
  }
}

TEST(ShardPlan, TheSeventyBillionShapeOnEightRanksHasOneKvHeadEach) {
  const ShardSizes sizes{64, 8, 28672, 32000};
  check_every_rank(sizes, 8);
  const ShardPlan last = make_shard_plan(sizes, 8, 7);
  EXPECT_EQ(last.heads, (Range{56, 64}));
  EXPECT_EQ(last.kv_heads, (Range{7, 8}));
  EXPECT_EQ(last.mlp, (Range{25088, 28672}));
  EXPECT_EQ(last.vocab, (Range{28000, 32000}));
}

TEST(ShardPlan, CutsAKvGroupWhereHeadsDoNotDivide) {
  const ShardSizes sizes{10, 5, 100, 50};                           // two query heads read each KV head
  EXPECT_EQ(make_shard_plan(sizes, 3, 0).kv_heads, (Range{0, 2}));  // heads 0 to 3
  EXPECT_EQ(make_shard_plan(sizes, 3, 1).kv_heads, (Range{2, 4}));  // heads 4 to 6
  EXPECT_EQ(make_shard_plan(sizes, 3, 2).kv_heads, (Range{3, 5}));  // heads 7 to 9: KV head 3 is held twice
}

TEST(ShardPlan, MoreRanksThanKvHeadsReplicatesThem) {
  const ShardSizes sizes{16, 2, 64, 64};
  check_every_rank(sizes, 16);
  EXPECT_EQ(make_shard_plan(sizes, 16, 7).kv_heads, (Range{0, 1}));
  EXPECT_EQ(make_shard_plan(sizes, 16, 8).kv_heads, (Range{1, 2}));
}

TEST(ShardPlan, MoreRanksThanVocabularyRowsLeavesSomeEmpty) {
  const ShardPlan plan = make_shard_plan({8, 8, 8, 2}, 8, 7);
  EXPECT_EQ(plan.vocab.size(), 0);
  EXPECT_EQ(plan.mlp, (Range{7, 8}));
}

TEST(ShardPlan, ErrorsSayWhichLimit) {
  const ShardSizes sizes{10, 5, 100, 50};
  EXPECT_THAT(
      [&] { make_shard_plan(sizes, 11, 0); },
      ThrowsMessage<std::invalid_argument>(HasSubstr("10 attention heads runs on 1 to 10 ranks, not on 11")));
  EXPECT_THAT(
      [&] {
        make_shard_plan({10, 5, 3, 50}, 4, 0);
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("3 MLP columns runs on 1 to 3 ranks, not on 4; start")));
  EXPECT_THAT([&] { make_shard_plan(sizes, 0, 0); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("not on 0")));
  EXPECT_THAT([&] { make_shard_plan(sizes, 3, 3); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("rank 3 is not one of the 3")));
  EXPECT_THROW(make_shard_plan(sizes, 3, -1), std::invalid_argument);
  EXPECT_THAT(
      [&] {
        make_shard_plan({10, 4, 100, 50}, 2, 0);
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("num_kv_heads (4) must divide num_heads (10)")));
  EXPECT_THROW(make_shard_plan({0, 1, 1, 1}, 1, 0), std::invalid_argument);
  EXPECT_THROW(make_shard_plan({4, 0, 1, 1}, 1, 0), std::invalid_argument);
}

}  // namespace
}  // namespace sinkstream
