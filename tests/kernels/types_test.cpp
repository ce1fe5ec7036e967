#include "kernels/types.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/host_matrix.h"

namespace sinkstream::kernels {
namespace {

constexpr std::uint32_t kHalfPatterns = 1u << 16;

std::uint32_t bits_of(float value) {
  return std::bit_cast<std::uint32_t>(value);
}

// IEEE binary16 by its definition.
double half_by_definition(std::uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10) & 0x1f;
  const int mantissa = static_cast<int>(bits & 0x3ff);
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(Float16, EveryPatternWidensExactly) {
  for (std::uint32_t bits = 0; bits < kHalfPatterns; ++bits) {
    const float value = to_float(float16{static_cast<std::uint16_t>(bits)});
    ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
    const bool special = (bits & 0x7c00) == 0x7c00;
    if (special && (bits & 0x3ff) != 0) {
      ASSERT_TRUE(std::isnan(value)) << bits;
    } else if (special) {
      ASSERT_TRUE(std::isinf(value)) << bits;
    } else {
      ASSERT_EQ(value, half_by_definition(bits)) << bits;
    }
  }
}

TEST(Bfloat16, EveryPatternSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < kHalfPatterns; ++bits) {
    const bfloat16 narrow{static_cast<std::uint16_t>(bits)};
    const float wide = to_float(narrow);
    ASSERT_EQ(bits_of(wide), bits << 16);
    if (std::isnan(wide)) {
      ASSERT_TRUE(std::isnan(to_float(to_bfloat16(wide)))) << bits;
    } else {
      ASSERT_EQ(to_bfloat16(wide).bits, bits);
    }
  }
}

TEST(Bfloat16, RoundsToNearestTiesToEvenAfterEveryPattern) {
  for (std::uint32_t bits = 0; bits < kHalfPatterns; ++bits) {
    if ((bits & 0x7f80) == 0x7f80) continue;  // infinities and NaNs have nothing after them
    const auto rounded = [&](std::uint32_t lower) {
      return to_bfloat16(std::bit_cast<float>(bits << 16 | lower)).bits;
    };
    ASSERT_EQ(rounded(0x0001), bits);
    ASSERT_EQ(rounded(0x7fff), bits);
    ASSERT_EQ(rounded(0x8000), bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(rounded(0x8001), bits + 1);  // beyond the largest number: infinity
    ASSERT_EQ(rounded(0xffff), bits + 1);
  }
}

TEST(Bfloat16, NotANumberWithOnlyLowBitsStaysOne) {
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::bit_cast<float>(0xffffffffu)))));
}

TEST(DType, SizesAndNames) {
  EXPECT_EQ(size_of(DType::f32), 4u);
  EXPECT_EQ(size_of(DType::bf16), 2u);
  EXPECT_EQ(size_of(DType::f16), 2u);
  EXPECT_EQ(name_of(DType::f32), "f32");
  EXPECT_EQ(name_of(DType::bf16), "bf16");
  EXPECT_EQ(name_of(DType::f16), "f16");
}

TEST(HeadShard, MapsHeadsOfACutGroup) {
  // Heads 3 to 9 of groups of 4: one head of KV head 0, four of 1, two of 2.
  const HeadShard shard{
      .first_head = 3, .local_heads = 7, .group_size = 4, .first_kv_head = 0, .local_kv_heads = 3};
  const int expected[] = {0, 1, 1, 1, 1, 2, 2};
  for (int head = 0; head < shard.local_heads; ++head) EXPECT_EQ(shard.local_kv_head(head), expected[head]);
}

TEST(HostMatrix, RowsAreViewsOfTheData) {
  float data[6] = {0, 1, 2, 3, 4, 5};
  const HostMatrix matrix{data, 2, 3};
  EXPECT_EQ(matrix.row(1).data(), data + 3);
  EXPECT_EQ(matrix.row(1).size(), 3u);
  EXPECT_EQ(ConstHostMatrix(matrix).row(0)[2], 2.0f);
}

TEST(DeviceMemory, PartsAndRowsAreCountedInElements) {
  const DeviceSpan<std::int64_t> span{Address{4096}, 10};
  EXPECT_EQ(span.bytes(), 80);
  EXPECT_EQ(span.part(3, 2).data, Address{4096 + 24});
  EXPECT_EQ(span.part(3, 2).size, 2);
  const Matrix matrix{Address{4096}, 5, 7};
  EXPECT_EQ(matrix.bytes(), 140);
  EXPECT_EQ(matrix.first_rows(2).bytes(), 56);
  EXPECT_EQ(ConstMatrix(matrix).bytes(), 140);
}

}  // namespace
}  // namespace sinkstream::kernels
