// How weights are cut between ranks, and what they cost.
#include "kernels/weight.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "parallel/shard_plan.h"
#include "tests/unpadded_bytes.h"

namespace sinkstream::kernels {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::f32, WeightFormat::bf16, WeightFormat::int8,
                                     WeightFormat::int4};

TEST(WeightFormat, NamesAreReadBack) {
  for (const WeightFormat format : kFormats) EXPECT_EQ(parse_weight_format(name_of(format)), format);
  for (const char* other : {"", "f16", "F32", "int", "int80", "q4_0"}) {
    EXPECT_EQ(parse_weight_format(other), std::nullopt) << other;
  }
}

TEST(WeightShape, APackerIsGivenWholeGroupsAndNoColumnTooMuch) {
  for (const std::int64_t width : {1, 31, 32, 33, 64, 80, 97}) {
    for (std::int64_t begin = 0; begin <= width; ++begin) {
      for (std::int64_t end = begin + 1; end <= width; ++end) {
        SCOPED_TRACE(testing::Message() << begin << " to " << end << " of " << width);
        const Range own{begin, end};
        for (const WeightFormat format : {WeightFormat::int8, WeightFormat::int4}) {
          const Range needed = columns_to_pack(format, own, width);
          ASSERT_EQ(needed.begin % kGroupSize, 0);
          ASSERT_TRUE(needed.end % kGroupSize == 0 || needed.end == width);
          ASSERT_TRUE(needed.begin <= begin && begin - needed.begin < kGroupSize);
          ASSERT_TRUE(needed.end >= end && needed.end - end < kGroupSize);

          const WeightShape shape = weight_shape(format, 7, own, width);
          ASSERT_EQ(shape.out_features, 7);
          ASSERT_EQ(shape.in_features, own.size());
          ASSERT_EQ(shape.columns_before, begin - needed.begin);
          ASSERT_EQ(shape.columns_after, needed.end - end);
          ASSERT_EQ(shape.packed_columns(), needed.size());
          ASSERT_EQ(shape.groups(), (end - 1) / kGroupSize - begin / kGroupSize + 1);
        }
        for (const WeightFormat format : {WeightFormat::f32, WeightFormat::bf16}) {
          ASSERT_EQ(columns_to_pack(format, own, width), own);
          const WeightShape shape = weight_shape(format, 7, own, width);
          ASSERT_EQ(shape, (WeightShape{format, 7, own.size(), 0, 0}));
        }
      }
    }
  }
}

TEST(WeightShape, OfNoColumns) {
  for (const WeightFormat format : kFormats) {
    for (const std::int64_t column : {0, 5, 32, 40}) {
      EXPECT_EQ(columns_to_pack(format, {column, column}, 40), (Range{column, column}));
      EXPECT_EQ(weight_shape(format, 3, {column, column}, 40), (WeightShape{format, 3, 0, 0, 0}));
      EXPECT_EQ(unpadded_bytes(weight_shape(format, 3, {column, column}, 40)), 0);
    }
  }
}

TEST(WeightShape, RefusesColumnsThatTheMatrixHasNot) {
  for (const Range columns : {Range{-1, 3}, Range{3, 2}, Range{3, 41}}) {
    EXPECT_THROW(columns_to_pack(WeightFormat::int8, columns, 40), std::invalid_argument);
    EXPECT_THROW(weight_shape(WeightFormat::f32, 1, columns, 40), std::invalid_argument);
  }
}

TEST(UnpaddedBytes, OfWholeMatrices) {
  const auto bytes = [](WeightFormat format, std::int64_t out, std::int64_t in) {
    return unpadded_bytes(weight_shape(format, out, {0, in}, in));
  };
  EXPECT_EQ(bytes(WeightFormat::f32, 10, 64), 10 * 64 * 4);
  EXPECT_EQ(bytes(WeightFormat::bf16, 10, 64), 10 * 64 * 2);
  EXPECT_EQ(bytes(WeightFormat::int8, 10, 64), 10 * (64 + 2 * 2));
  EXPECT_EQ(bytes(WeightFormat::int4, 10, 64), 10 * (32 + 2 * 4));
  EXPECT_EQ(bytes(WeightFormat::int8, 3, 33), 3 * 33 + 1 + 3 * 2 * 2) << "scales begin at an even byte";
  EXPECT_EQ(bytes(WeightFormat::int4, 3, 33), 3 * 17 + 1 + 3 * 2 * 4) << "so does each row, at a whole one";
}

// Ranks that cut a group keep a scale each, and that is all that a cut costs.
TEST(UnpaddedBytes, ACutCostsAtMostAScale) {
  constexpr std::int64_t kOut = 64, kWidth = 960;
  for (const WeightFormat format : kFormats) {
    const std::int64_t whole = unpadded_bytes(weight_shape(format, kOut, {0, kWidth}, kWidth));
    for (int ranks = 1; ranks <= 15; ++ranks) {
      std::int64_t sum = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        sum += unpadded_bytes(weight_shape(format, kOut, split_evenly(kWidth, ranks, rank), kWidth));
      }
      EXPECT_GE(sum, whole);
      EXPECT_LE(sum, whole + (is_quantized(format) ? kOut * ranks * 5 : 0))
          << name_of(format) << ' ' << ranks;
    }
  }
}

}  // namespace
}  // namespace sinkstream::kernels
