// Quantization by its definition.
#include "kernels/host/packed_weight.h"

#include <algorithm>
#include <cmath>

#include "kernels/reference/reference_backend.h"
#include "parallel/communicator/in_process.h"
#include "tests/kernels/on_device.h"

namespace sinkstream::kernels {
namespace {

class Packed : public testing::Test {
 protected:
  // One row, packed and read back.
  std::vector<float> read_back(WeightFormat format, const std::vector<float>& row) {
    const auto width = std::ssize(row);
    const Weight weight = backend_.allocate_weight(weight_shape(format, 1, {0, width}, width));
    backend_.pack(ConstHostMatrix{row.data(), 1, width}, 0, weight);
    std::vector<float> values(row.size());
    PackedWeight(weight).read_row(0, values);
    return values;
  }

  std::vector<std::unique_ptr<Communicator>> group_ = make_in_process_group(1);
  ReferenceBackend backend_{*group_[0]};
};

float rounded(float value) {
  return to_float(to_bfloat16(value));
}

TEST_F(Packed, Int8IsTheNearestStepOfTheGroupsScale) {
  Random random(1);
  const std::vector<float> row = random.numbers(77);
  const std::vector<float> packed = read_back(WeightFormat::int8, row);
  for (std::size_t first = 0; first < row.size(); first += kGroupSize) {
    const auto group = std::span(row).subspan(first, std::min<std::size_t>(kGroupSize, row.size() - first));
    float largest = 0;
    for (const float value : group) largest = std::max(largest, std::abs(value));
    const float scale = rounded(largest / 127);
    for (std::size_t i = 0; i < group.size(); ++i) {
      const float steps = packed[first + i] / scale;
      EXPECT_NEAR(steps, std::round(steps), 1e-4) << "a whole number of steps";
      EXPECT_LE(std::abs(std::round(steps)), 127);
      // The largest may be cut by what the scale was rounded down.
      EXPECT_LE(std::abs(packed[first + i] - group[i]), scale / 2 + largest / 256) << first + i;
    }
  }
}

TEST_F(Packed, Int4IsTheNearestStepAboveTheGroupsMinimum) {
  Random random(2);
  std::vector<float> row = random.numbers(4 * kGroupSize + 13);
  // Around zero, around 0.5, and narrow and far from zero: [1.001, 1.003], negative too.
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (i >= kGroupSize) row[i] += 0.5f;
    if (i >= 2 * kGroupSize) row[i] = (i < 3 * kGroupSize ? 1 : -1) * (1.002f + 0.0005f * row[i]);
  }
  const std::vector<float> packed = read_back(WeightFormat::int4, row);
  for (std::size_t first = 0; first < row.size(); first += kGroupSize) {
    const auto group = std::span(row).subspan(first, std::min<std::size_t>(kGroupSize, row.size() - first));
    const auto [lowest, highest] = std::ranges::minmax(group);
    float minimum = rounded(lowest);
    if (minimum - lowest > (highest - minimum) / 30) minimum = rounded(lowest - std::abs(lowest) / 256);
    const float scale = rounded((highest - minimum) / 15);
    for (std::size_t i = 0; i < group.size(); ++i) {
      const float steps = (packed[first + i] - minimum) / scale;
      EXPECT_NEAR(steps, std::round(steps), 1e-4);
      EXPECT_GE(std::round(steps), 0);
      EXPECT_LE(std::round(steps), 15);
      // The highest may be cut by what the scale was rounded down.
      EXPECT_LE(std::abs(packed[first + i] - group[i]), scale / 2 + (highest - minimum) / 512 + 1e-6f)
          << first + i;
    }
  }
}

TEST_F(Packed, WhatAFormatCanSayIsSaidExactly) {
  std::vector<float> steps8, steps4;
  for (int i = 0; i < 32; ++i) {
    steps8.push_back(static_cast<float>(i == 0 ? -127 : 8 * i - 121) * 0.25f);
    steps4.push_back(-3.0f + static_cast<float>(i % 16) * 0.5f);
  }
  expect_same_bits(read_back(WeightFormat::int8, steps8), steps8);
  expect_same_bits(read_back(WeightFormat::int4, steps4), steps4);
  const std::vector<float> zeros(40, 0.0f), constant(40, 0.375f);
  for (const WeightFormat format : kWeightFormats) expect_same_bits(read_back(format, zeros), zeros);
  expect_same_bits(read_back(WeightFormat::int4, constant), constant);
  Random random(3);
  const std::vector<float> row = random.numbers(77);
  expect_same_bits(read_back(WeightFormat::f32, row), row);
  std::vector<float> halved;
  for (const float value : row) halved.push_back(rounded(value));
  expect_same_bits(read_back(WeightFormat::bf16, row), halved);
}

TEST_F(Packed, AGroupThatIsNotFiniteShowsIt) {
  for (const float odd : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> row(64, 1.0f);
    row[40] = odd;
    for (const WeightFormat format : {WeightFormat::int8, WeightFormat::int4}) {
      const std::vector<float> packed = read_back(format, row);
      EXPECT_TRUE(std::isfinite(packed[31])) << "another group";
      EXPECT_TRUE(std::isnan(packed[40])) << name_of(format) << ' ' << odd;
    }
  }
}

TEST_F(Packed, AnInt4GroupWiderThanFloat32ShowsIt) {
  std::vector<float> row(64, 1.0f);
  row[40] = -3e38f;
  row[41] = 3e38f;
  const std::vector<float> packed = read_back(WeightFormat::int4, row);
  EXPECT_EQ(packed[31], 1.0f) << "another group";
  EXPECT_TRUE(std::isnan(packed[41]));
  EXPECT_TRUE(std::isfinite(read_back(WeightFormat::int8, row)[41]));
}

TEST_F(Packed, SmallAndLargeNumbersStayNumbers) {
  for (const float size : {1e-44f, 1e-38f, 1e30f, 1.5e38f}) {
    Random random(4);
    std::vector<float> row = random.numbers(32);
    for (float& value : row) value *= size;
    for (const WeightFormat format : {WeightFormat::int8, WeightFormat::int4}) {
      for (const float value : read_back(format, row)) {
        EXPECT_LE(std::abs(value), 1.1f * size + 1e-40f) << name_of(format);  // bf16 begins at 9e-41
      }
    }
  }
}

}  // namespace
}  // namespace sinkstream::kernels
