#include <cmath>

#include "tests/kernels/on_device.h"

namespace sinkstream::kernels {
namespace {

// A norm's numbers in this host's memory.
struct NormNumbers {
  NormKind kind = NormKind::rms;
  std::vector<float> weight;
  std::vector<float> bias;
  float epsilon = 1e-5f;
};

Tensor norm_on(Backend& backend, const Tensor& x, const NormNumbers& numbers) {
  const DeviceTensor input(backend, x);
  const DeviceTensor out(backend, x.rows, x.cols);
  const OnDevice<float> weight(backend, numbers.weight);
  const OnDevice<float> bias(backend, numbers.bias);
  backend.norm(input, {numbers.kind, numbers.epsilon, weight, bias}, out);
  return out.read();
}

class NormTest : public OnEveryBackend {
 protected:
  void expect_rows_alone(const NormNumbers& numbers);
};

void NormTest::expect_rows_alone(const NormNumbers& numbers) {
  const std::int64_t width = std::ssize(numbers.weight);
  Random random(3);
  const Tensor x = random.matrix(31, width);
  const auto one_thread = on_threads(1);
  const DeviceTensor input(*one_thread, x);
  const DeviceTensor alone(*one_thread, x.rows, width);
  const OnDevice<float> weight(*one_thread, numbers.weight);
  const OnDevice<float> bias(*one_thread, numbers.bias);
  for (std::int64_t r = 0; r < x.rows; ++r) {
    one_thread->norm(input.rows(r, 1), {numbers.kind, numbers.epsilon, weight, bias}, alone.rows(r, 1));
  }
  const Tensor expected = alone.read();
  for (const int threads : thread_counts()) {
    expect_same_bits(norm_on(*on_threads(threads), x, numbers).data, expected.data);
  }
}

class RmsNorm : public NormTest {};

TEST_P(RmsNorm, IsLikeTheReference) {
  for (const std::int64_t width : {1, 3, 7, 8, 17, 33, 65, 4097}) {
    SCOPED_TRACE(width);
    Random random(static_cast<std::uint32_t>(width));
    const Tensor x = random.matrix(19, width);
    const NormNumbers numbers{NormKind::rms, random.numbers(width), {}};
    const Tensor actual = norm_on(backend(), x, numbers);
    const Tensor expected = norm_on(reference(), x, numbers);
    expect_close(actual, expected, [&](std::int64_t r, std::int64_t i) {
      return sum_error(width) *
             std::abs(expected.row(r)[i]);  // squares are positive, so the sum is its magnitude
    });
  }
}

TEST_P(RmsNorm, ZeroStaysZero) {
  const NormNumbers numbers{NormKind::rms, std::vector<float>(5, 2.0f), {}, 1e-6f};
  EXPECT_EQ(norm_on(backend(), Tensor(1, 5), numbers).data, std::vector<float>(5, 0.0f));
}

TEST_P(RmsNorm, ARowsBitsDependOnThatRowAlone) {
  Random random(4);
  expect_rows_alone({NormKind::rms, random.numbers(4097), {}});
}

INSTANTIATE_ON_EVERY_BACKEND(RmsNorm);

class LayerNorm : public NormTest {};

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
  for (const std::int64_t width : {3, 7, 8, 17, 33, 65, 4097}) {
    for (const float center : {0.0f, 100.0f}) {
      SCOPED_TRACE(testing::Message() << width << " around " << center);
      Random random(static_cast<std::uint32_t>(width));
      const Tensor x = rows_around(center, 19, width, random);
      const std::vector<float> weight = random.numbers(width);
      for (const std::vector<float>& bias : {std::vector<float>(), random.numbers(width)}) {
        const NormNumbers numbers{NormKind::layer, weight, bias};
        const Tensor actual = norm_on(backend(), x, numbers);
        const Tensor expected = norm_on(reference(), x, numbers);
        expect_close(actual, expected, [&](std::int64_t r, std::int64_t i) {
          return layer_norm_bound(width, center, weight[i], expected.row(r)[i]);
        });
      }
    }
  }
}

TEST_P(LayerNorm, AConstantRowBecomesTheBias) {
  const NormNumbers numbers{NormKind::layer, std::vector<float>(5, 2.0f), std::vector<float>(5, 0.25f)};
  EXPECT_EQ(norm_on(backend(), Tensor(1, 5, 3.0f), numbers).data, std::vector<float>(5, 0.25f));
}

TEST_P(LayerNorm, ARowsBitsDependOnThatRowAlone) {
  Random random(4);
  expect_rows_alone({NormKind::layer, random.numbers(4097), random.numbers(4097)});
}

Tensor row_moments_on(Backend& backend, const Tensor& x, std::int64_t first, std::int64_t columns) {
  const DeviceTensor input(backend, x);
  const DeviceTensor moments(backend, x.rows, 2);
  backend.row_moments(input, first, columns, moments);
  return moments.read();
}

Tensor normalize_columns_on(Backend& backend, const Tensor& statistics, const std::vector<float>& weight,
                            const std::vector<float>& bias, std::int64_t first, const Tensor& x) {
  const DeviceTensor of_rows(backend, statistics);
  const DeviceTensor changed(backend, x);
  const OnDevice<float> factors(backend, weight);
  const OnDevice<float> shift(backend, bias);
  backend.normalize_columns(of_rows, factors, shift, first, changed);
  return changed.read();
}

TEST_P(LayerNorm, InTwoHalvesIsLikeTheReference) {
  Random random(7);
  const Tensor x = rows_around(10.0f, 9, 41, random);
  const Tensor moments = row_moments_on(backend(), x, 5, 29);
  expect_close(moments, row_moments_on(reference(), x, 5, 29),
               [](std::int64_t, std::int64_t column) { return sum_error(29) * (column == 0 ? 11.0 : 29.0); });

  const std::vector<float> weight = random.numbers(29), bias = random.numbers(29);
  for (const std::vector<float>& shift : {std::vector<float>(), bias}) {
    const Tensor actual = normalize_columns_on(backend(), moments, weight, shift, 5, x);
    const Tensor expected = normalize_columns_on(reference(), moments, weight, shift, 5, x);
    expect_close(actual, expected, [&](std::int64_t r, std::int64_t i) {
      return 8 * kEpsilon * (std::abs(expected.row(r)[i]) + 12 * std::abs(moments.row(r)[1]));
    });
    EXPECT_EQ(actual.row(4)[4], x.row(4)[4]) << "other columns stay";
    EXPECT_EQ(actual.row(4)[34], x.row(4)[34]);
  }
}

TEST_P(LayerNorm, NoColumnsHaveNoMoments) {
  Random random(8);
  EXPECT_EQ(row_moments_on(backend(), random.matrix(3, 5), 5, 0).data, std::vector<float>(6, 0.0f));
}

struct Moments {
  double mean = 0, squares = 0;
};

Moments moments_of(std::span<const double> values) {
  Moments moments;
  for (const double value : values) moments.mean += value / static_cast<double>(values.size());
  for (const double value : values) moments.squares += (value - moments.mean) * (value - moments.mean);
  return moments;
}

TEST_P(LayerNorm, CombinedMomentsAreThoseOfTheWhole) {
  constexpr std::size_t kRows = 3, kFeatures = 8;
  const std::vector<std::int64_t> counts = {3, 0, 1, 4};
  std::mt19937 random(1);
  std::normal_distribution<double> normal(50.0, 2.0);
  Tensor spread(std::ssize(counts) * kRows, 2);
  std::vector<Moments> whole;
  for (std::size_t row = 0; row < kRows; ++row) {
    std::vector<double> values(kFeatures);
    for (double& value : values) value = normal(random);
    whole.push_back(moments_of(values));
    std::size_t begin = 0;
    for (std::size_t rank = 0; rank < counts.size(); ++rank) {
      const auto count = static_cast<std::size_t>(counts[rank]);
      const Moments part = moments_of(std::span(values).subspan(begin, count));
      spread.row(rank * kRows + row)[0] = static_cast<float>(part.mean);
      spread.row(rank * kRows + row)[1] = static_cast<float>(part.squares);
      begin += count;
    }
  }
  const DeviceTensor moments(backend(), spread);
  const OnDevice<std::int64_t> of_ranks(backend(), counts);
  const DeviceTensor combined(backend(), kRows, 2);
  backend().combine_moments(moments, of_ranks, 0.5f, combined);
  const Tensor statistics = combined.read();
  for (std::size_t row = 0; row < kRows; ++row) {
    EXPECT_NEAR(statistics.row(row)[0], whole[row].mean, 1e-4);
    EXPECT_NEAR(statistics.row(row)[1], 1 / std::sqrt(whole[row].squares / kFeatures + 0.5), 1e-5);
  }
}

INSTANTIATE_ON_EVERY_BACKEND(LayerNorm);

}  // namespace
}  // namespace sinkstream::kernels
