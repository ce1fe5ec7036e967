#include "support.h"

#include <hwy/targets.h>

#include <bit>
#include <cmath>

namespace sinkstream::kernels {

std::vector<float> Random::numbers(std::int64_t count) {
  std::vector<float> values(count);
  for (float& value : values) value = number();
  return values;
}

Tensor Random::matrix(std::int64_t rows, std::int64_t cols) {
  Tensor tensor(rows, cols);
  tensor.data = numbers(rows * cols);
  return tensor;
}

Weight::Weight(Random& random, DType type, std::int64_t out_count, std::int64_t in_count)
    : dtype(type), out_features(out_count), in_features(in_count) {
  const std::vector<float> values = random.numbers(out_count * in_count);
  if (dtype == DType::f32) {
    f32 = values;
  } else {
    for (const float value : values) bf16.push_back(to_bfloat16(value));
  }
}

WeightView Weight::view() const {
  const void* data = dtype == DType::f32 ? static_cast<const void*>(f32.data()) : bf16.data();
  return {data, dtype, out_features, in_features};
}

float Weight::at(std::int64_t out, std::int64_t in) const {
  const std::int64_t index = out * in_features + in;
  return dtype == DType::f32 ? f32[index] : to_float(bf16[index]);
}

double norm(std::span<const float> values) {
  double squares = 0;
  for (const double value : values) squares += value * value;
  return std::sqrt(squares);
}

void expect_close(ConstMatrix actual, ConstMatrix expected,
                  const std::function<double(std::int64_t, std::int64_t)>& bound) {
  ASSERT_EQ(actual.rows, expected.rows);
  ASSERT_EQ(actual.cols, expected.cols);
  double worst_excess = 0;
  std::string worst;
  for (std::int64_t r = 0; r < actual.rows; ++r) {
    for (std::int64_t c = 0; c < actual.cols; ++c) {
      const double error = std::abs(static_cast<double>(actual.row(r)[c]) - expected.row(r)[c]);
      const double allowed = bound(r, c);
      const double excess = error - allowed;
      if (excess <= worst_excess) continue;  // not so for NaN
      worst_excess = excess;
      worst = "element [" + std::to_string(r) + ", " + std::to_string(c) + "] is " +
              testing::PrintToString(actual.row(r)[c]) + ", expected " +
              testing::PrintToString(expected.row(r)[c]) + ", error " + testing::PrintToString(error) +
              " > bound " + testing::PrintToString(allowed);
      if (std::isnan(excess)) break;
    }
    if (std::isnan(worst_excess)) break;
  }
  EXPECT_TRUE(worst.empty()) << worst;
}

void expect_same_bits(std::span<const float> actual, std::span<const float> expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(actual[i]), std::bit_cast<std::uint32_t>(expected[i]))
        << "element " << i << " is " << actual[i] << ", expected " << expected[i];
  }
}

void OnEveryInstructionSet::SetUp() {
  hwy::SetSupportedTargetsForTest(GetParam());
  ASSERT_STREQ(instruction_set(), hwy::TargetName(GetParam()));
}

void OnEveryInstructionSet::TearDown() {
  hwy::SetSupportedTargetsForTest(0);
}

std::vector<std::int64_t> instruction_sets() {
  return hwy::SupportedAndGeneratedTargets();
}

std::string instruction_set_name(const testing::TestParamInfo<std::int64_t>& info) {
  return hwy::TargetName(info.param);
}

}  // namespace sinkstream::kernels
