// What the tests of operations share.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace sinkstream::kernels {

inline constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
inline constexpr std::int64_t kFewestLanes = 4;  // of the instruction sets that the tests meet

// Bound on the relative rounding error of a sum of `count` products, relative to the sum of their magnitudes:
// the longest chain of additions is that of the fewest lanes.
constexpr double sum_error(std::int64_t count) {
  return (static_cast<double>(count) / static_cast<double>(kFewestLanes) + 8) * kEpsilon;
}

// A matrix that owns exactly its elements, so that a sanitizer sees the first byte read beyond.
struct Tensor {
  Tensor(std::int64_t row_count, std::int64_t col_count)
      : rows(row_count), cols(col_count), data(row_count * col_count) {}

  std::span<float> row(std::int64_t r) { return Matrix(*this).row(r); }
  operator Matrix() { return {data.data(), rows, cols}; }
  operator ConstMatrix() const { return {data.data(), rows, cols}; }

  std::int64_t rows;
  std::int64_t cols;
  std::vector<float> data;
};

// Repeatable numbers in [-1, 1).
class Random {
 public:
  explicit Random(std::uint32_t seed) : engine_(seed) {}

  float number() { return static_cast<float>(engine_() >> 8) * 0x1p-23f - 1.0f; }
  std::vector<float> numbers(std::int64_t count);
  Tensor matrix(std::int64_t rows, std::int64_t cols);

 private:
  std::mt19937 engine_;
};

// A random weight of either type.
struct Weight {
  Weight(Random& random, DType type, std::int64_t out_features, std::int64_t in_features);
  WeightView view() const;
  float at(std::int64_t out, std::int64_t in) const;

  DType dtype;
  std::int64_t out_features;
  std::int64_t in_features;
  std::vector<float> f32;
  std::vector<bfloat16> bf16;
};

double norm(std::span<const float> values);

// Fails, naming the worst element, unless |actual - expected| <= bound(row, column) everywhere.
void expect_close(ConstMatrix actual, ConstMatrix expected,
                  const std::function<double(std::int64_t, std::int64_t)>& bound);

// Fails, naming the first element, unless the bits are equal everywhere.
void expect_same_bits(std::span<const float> actual, std::span<const float> expected);

// Runs each test on every instruction set that this processor has.
class OnEveryInstructionSet : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override;
  void TearDown() override;
};

std::vector<std::int64_t> instruction_sets();
std::string instruction_set_name(const testing::TestParamInfo<std::int64_t>& info);

#define INSTANTIATE_ON_EVERY_INSTRUCTION_SET(suite) \
  INSTANTIATE_TEST_SUITE_P(Cpu, suite, testing::ValuesIn(instruction_sets()), instruction_set_name)

}  // namespace sinkstream::kernels
