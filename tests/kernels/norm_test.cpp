#include <cmath>

#include "kernels/cpu/reference.h"
#include "support.h"

namespace sinkstream::kernels {
namespace {

class RmsNorm : public OnEveryInstructionSet {};

TEST_P(RmsNorm, IsLikeTheReference) {
  ThreadPool threads(2);
  Context context{threads};
  for (const std::int64_t width : {1, 3, 7, 8, 17, 33, 65, 4097}) {
    SCOPED_TRACE(width);
    Random random(static_cast<std::uint32_t>(width));
    const Tensor x = random.matrix(19, width);
    const std::vector<float> weight = random.numbers(width);
    Tensor actual(19, width);
    Tensor expected(19, width);
    rms_norm(context, x, weight, 1e-5f, actual);
    reference::rms_norm(x, weight, 1e-5f, expected);
    expect_close(actual, expected, [&](std::int64_t r, std::int64_t i) {
      return sum_error(width) *
             std::abs(expected.row(r)[i]);  // squares are positive, so the sum is its magnitude
    });
  }
}

TEST_P(RmsNorm, ZeroStaysZero) {
  ThreadPool threads(1);
  Context context{threads};
  const std::vector<float> weight(5, 2.0f);
  Tensor out(1, 5);
  rms_norm(context, Tensor(1, 5), weight, 1e-6f, out);
  EXPECT_EQ(out.data, std::vector<float>(5, 0.0f));
}

TEST_P(RmsNorm, ARowsBitsDependOnThatRowAlone) {
  constexpr std::int64_t kWidth = 4097;
  Random random(3);
  const Tensor x = random.matrix(31, kWidth);
  const std::vector<float> weight = random.numbers(kWidth);
  Tensor alone(31, kWidth);
  ThreadPool one_thread(1);
  Context context{one_thread};
  for (std::int64_t r = 0; r < x.rows; ++r) {
    rms_norm(context, {ConstMatrix(x).row(r).data(), 1, kWidth}, weight, 1e-5f,
             {alone.row(r).data(), 1, kWidth});
  }
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    Context several{pool};
    Tensor together(31, kWidth);
    rms_norm(several, x, weight, 1e-5f, together);
    expect_same_bits(together.data, alone.data);
  }
}

INSTANTIATE_ON_EVERY_INSTRUCTION_SET(RmsNorm);

class LayerNorm : public OnEveryInstructionSet {};

// Rows far from zero, where a variance taken as a difference of two large sums would be lost.
Tensor rows_around(float center, std::int64_t rows, std::int64_t width, Random& random) {
  Tensor x = random.matrix(rows, width);
  for (float& value : x.data) value += center;
  return x;
}

// x - mean errs by the mean's own rounding; the rest is relative.
double layer_norm_bound(std::int64_t width, float center, float weight, float normalized) {
  const double mean_error = sum_error(width) * (std::abs(center) + 1);
  const double deviation = 0.4;  // of numbers in [-1, 1), or more; a single column is zero exactly
  return sum_error(width) * (2 * std::abs(normalized) + 1) + 4 * std::abs(weight) * mean_error / deviation;
}

TEST_P(LayerNorm, IsLikeTheReference) {
  ThreadPool threads(2);
  Context context{threads};
  for (const std::int64_t width : {3, 7, 8, 17, 33, 65, 4097}) {
    for (const float center : {0.0f, 100.0f}) {
      SCOPED_TRACE(testing::Message() << width << " around " << center);
      Random random(static_cast<std::uint32_t>(width));
      const Tensor x = rows_around(center, 19, width, random);
      const std::vector<float> weight = random.numbers(width);
      for (const std::vector<float>& bias : {std::vector<float>(), random.numbers(width)}) {
        Tensor actual(19, width);
        Tensor expected(19, width);
        layer_norm(context, x, weight, bias, 1e-5f, actual);
        reference::layer_norm(x, weight, bias, 1e-5f, expected);
        expect_close(actual, expected, [&](std::int64_t r, std::int64_t i) {
          return layer_norm_bound(width, center, weight[i], expected.row(r)[i]);
        });
      }
    }
  }
}

TEST_P(LayerNorm, AConstantRowBecomesTheBias) {
  ThreadPool threads(1);
  Context context{threads};
  Tensor x(1, 5);
  x.data.assign(5, 3.0f);
  const std::vector<float> weight(5, 2.0f);
  Tensor out(1, 5);
  layer_norm(context, x, weight, std::vector<float>(5, 0.25f), 1e-5f, out);
  EXPECT_EQ(out.data, std::vector<float>(5, 0.25f));
}

TEST_P(LayerNorm, ARowsBitsDependOnThatRowAlone) {
  constexpr std::int64_t kWidth = 4097;
  Random random(3);
  const Tensor x = random.matrix(31, kWidth);
  const std::vector<float> weight = random.numbers(kWidth);
  const std::vector<float> bias = random.numbers(kWidth);
  Tensor alone(31, kWidth);
  ThreadPool one_thread(1);
  Context context{one_thread};
  for (std::int64_t r = 0; r < x.rows; ++r) {
    layer_norm(context, {ConstMatrix(x).row(r).data(), 1, kWidth}, weight, bias, 1e-5f,
               {alone.row(r).data(), 1, kWidth});
  }
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    Context several{pool};
    Tensor together(31, kWidth);
    layer_norm(several, x, weight, bias, 1e-5f, together);
    expect_same_bits(together.data, alone.data);
  }
}

TEST_P(LayerNorm, InTwoHalvesIsLikeTheReference) {
  ThreadPool threads(2);
  Context context{threads};
  Random random(7);
  const Tensor x = rows_around(10.0f, 9, 41, random);
  Tensor moments(9, 2), expected_moments(9, 2);
  row_moments(context, x, 5, 29, moments);
  reference::row_moments(x, 5, 29, expected_moments);
  expect_close(moments, expected_moments,
               [](std::int64_t, std::int64_t column) { return sum_error(29) * (column == 0 ? 11.0 : 29.0); });

  const std::vector<float> weight = random.numbers(29), bias = random.numbers(29);
  for (const std::vector<float>& shift : {std::vector<float>(), bias}) {
    Tensor actual = x, expected = x;
    normalize_columns(context, moments, weight, shift, 5, actual);
    reference::normalize_columns(moments, weight, shift, 5, expected);
    expect_close(actual, expected, [&](std::int64_t r, std::int64_t i) {
      return 8 * kEpsilon * (std::abs(expected.row(r)[i]) + 12 * std::abs(moments.row(r)[1]));
    });
    EXPECT_EQ(actual.row(4)[4], x.data[4 * 41 + 4]) << "other columns stay";
    EXPECT_EQ(actual.row(4)[34], x.data[4 * 41 + 34]);
  }
}

INSTANTIATE_ON_EVERY_INSTRUCTION_SET(LayerNorm);

}  // namespace
}  // namespace sinkstream::kernels
