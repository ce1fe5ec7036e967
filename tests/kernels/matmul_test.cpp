#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/kernels/on_device.h"

namespace sinkstream::kernels {
namespace {

class Matmul : public OnEveryBackend {
 protected:
  void expect_like_reference(WeightFormat format, std::int64_t rows, std::int64_t in_features,
                             std::int64_t out_features, bool with_bias);
};

Tensor matmul_on(Backend& backend, const Tensor& x, const Weight& weight, const std::vector<float>& bias) {
  const DeviceTensor input(backend, x);
  const DeviceTensor out(backend, x.rows, weight.shape.out_features);
  const OnDevice<float> shift(backend, bias);
  backend.matmul(input, weight, shift, out);
  return out.read();
}

// The values that a weight has once it is packed.
Tensor packed_values(Backend& backend, const Weight& weight) {
  std::vector<std::int32_t> all(weight.shape.out_features);
  std::iota(all.begin(), all.end(), 0);
  const OnDevice<std::int32_t> rows(backend, all);
  const DeviceTensor values(backend, weight.shape.out_features, weight.shape.in_features);
  backend.embed(rows, weight, 0, values);
  return values.read();
}

double largest(std::span<const float> values) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

double sum_of_magnitudes(std::span<const float> values) {
  double sum = 0;
  for (const double value : values) sum += std::abs(value);
  return sum;
}

void Matmul::expect_like_reference(WeightFormat format, std::int64_t rows, std::int64_t in_features,
                                   std::int64_t out_features, bool with_bias) {
  SCOPED_TRACE(testing::Message() << name_of(format) << ' ' << rows << " x " << in_features << " -> "
                                  << out_features << (with_bias ? " with bias" : ""));
  Random random(static_cast<std::uint32_t>(rows * 10'000 + in_features * 100 + out_features));
  Tensor x = random.matrix(rows, in_features);
  const WholeWeight weight(random, format, out_features, in_features);
  const std::vector<float> bias = random.numbers(with_bias ? out_features : 0);
  if (rounds_activations(format)) {  // which is no error then
    for (float& value : x.data) value = to_float(to_bfloat16(value));
  }

  const Weight plain = weight.on(reference());
  const Tensor expected = matmul_on(reference(), x, plain, bias);
  const Tensor actual = matmul_on(backend(), x, weight.on(backend()), bias);

  const Tensor values = packed_values(reference(), plain);
  expect_close(actual, expected, [&](std::int64_t r, std::int64_t o) {
    const double magnitude = euclidean(x.row(r)) * euclidean(values.row(o)) + (with_bias ? 1 : 0);
    const double rounding = activation_step(format) * largest(x.row(r)) * sum_of_magnitudes(values.row(o));
    return sum_error(in_features) * magnitude + rounding;
  });
}

TEST_P(Matmul, IsLikeTheReferenceForOddShapes) {
  for (const WeightFormat format : kWeightFormats) {
    for (const std::int64_t rows : {1, 2, 3, 4, 5, 7, 13}) {
      for (const std::int64_t in_features : {1, 3, 7, 8, 17, 33, 65}) {
        for (const std::int64_t out_features : {1, 3, 4, 7, 17, 33}) {
          expect_like_reference(format, rows, in_features, out_features, rows % 2 == 0);
        }
      }
    }
  }
}

TEST_P(Matmul, IsLikeTheReferenceForShapesThatAreCutForThreadsAndCache) {
  for (const WeightFormat format : kWeightFormats) {
    expect_like_reference(format, 1, 1031, 263, true);
    expect_like_reference(format, 65, 257, 66, false);
    expect_like_reference(format, 17, 9001, 9, true);  // several blocks of rows
  }
}

TEST_P(Matmul, ARowsBitsDependOnThatRowAlone) {
  for (const WeightFormat format : kWeightFormats) {
    for (const std::int64_t in_features : {17, 256, 9001}) {
      SCOPED_TRACE(testing::Message() << name_of(format) << ", " << in_features << " inputs");
      constexpr std::int64_t kRows = 14;
      constexpr std::int64_t kOutFeatures = 263;
      Random random(5);
      const Tensor x = random.matrix(kRows, in_features);
      const WholeWeight weight(random, format, kOutFeatures, in_features);
      const std::vector<float> bias = random.numbers(kOutFeatures);

      Tensor alone(kRows, kOutFeatures);
      for (const int threads : thread_counts()) {
        const auto several = on_threads(threads);
        const Weight packed = weight.on(*several);
        const DeviceTensor input(*several, x);
        const OnDevice<float> shift(*several, bias);
        if (threads == 1) {
          const DeviceTensor out(*several, kRows, kOutFeatures);
          for (std::int64_t r = 0; r < kRows; ++r) {
            several->matmul(input.rows(r, 1), packed, shift, out.rows(r, 1));
          }
          alone = out.read();
        }
        for (const std::int64_t rows : {2, 3, 5, 6, 7, 14}) {
          const DeviceTensor out(*several, rows, kOutFeatures);
          several->matmul(input.rows(0, rows), packed, shift, out);
          const Tensor together = out.read();
          expect_same_bits(together.data, std::span(alone.data).first(together.data.size()));
        }
      }
    }
  }
}

TEST_P(Matmul, ARowsBitsAreTheSameAmongMany) {
  for (const WeightFormat format : kWeightFormats) {
    for (const std::int64_t in_features : {70, 1060, 4150}) {  // one chunk on a GPU, two, eight
      SCOPED_TRACE(testing::Message() << name_of(format) << ", " << in_features << " inputs");
      constexpr std::int64_t kRows = 131;
      constexpr std::int64_t kOutFeatures = 21;
      Random random(17);
      const Tensor x = random.matrix(kRows, in_features);
      const Weight weight = WholeWeight(random, format, kOutFeatures, in_features).on(backend());
      const OnDevice<float> bias(backend(), random.numbers(kOutFeatures));
      const DeviceTensor input(backend(), x);
      const DeviceTensor all(backend(), kRows, kOutFeatures);
      backend().matmul(input, weight, bias, all);
      const Tensor expected = all.read();
      for (const std::int64_t rows : {1, 9, 17, 33, 65}) {  // each by another kernel on a GPU
        const DeviceTensor some(backend(), rows, kOutFeatures);
        const std::int64_t first = kRows - rows;
        backend().matmul(input.rows(first, rows), weight, bias, some);
        expect_same_bits(some.read().data, std::span(expected.data).subspan(first * kOutFeatures));
      }
    }
  }
}

TEST_P(Matmul, AColumnsBitsDependOnItsWeightsAlone) {
  // A rank that holds columns [first, first + count) computes what the whole layer would.
  constexpr std::int64_t kInFeatures = 67;
  constexpr std::int64_t kOutFeatures = 23;
  for (const WeightFormat format : kWeightFormats) {
    SCOPED_TRACE(name_of(format));
    Random random(6);
    const Tensor x = random.matrix(5, kInFeatures);
    const WholeWeight weight(random, format, kOutFeatures, kInFeatures);
    const Tensor whole = matmul_on(backend(), x, weight.on(backend()), {});
    for (std::int64_t first = 0; first < kOutFeatures; ++first) {
      const std::int64_t count = std::min<std::int64_t>(6, kOutFeatures - first);
      const Weight rows = weight.on(backend(), {first, first + count}, {0, kInFeatures});
      const Tensor part = matmul_on(backend(), x, rows, {});
      for (std::int64_t r = 0; r < 5; ++r) {
        expect_same_bits(part.row(r), whole.row(r).subspan(first, count));
      }
    }
  }
}

TEST_P(Matmul, AWeightHasTheSameValuesWhereverItsInputsAreCut) {
  constexpr std::int64_t kInFeatures = 77;  // two whole groups and a short one
  for (const WeightFormat format : kWeightFormats) {
    Random random(16);
    const WholeWeight weight(random, format, 3, kInFeatures);
    const Tensor whole = packed_values(backend(), weight.on(backend()));
    for (std::int64_t begin = 0; begin < kInFeatures; begin += 5) {
      for (std::int64_t end = begin + 1; end <= kInFeatures; end += 7) {
        SCOPED_TRACE(testing::Message() << name_of(format) << ", columns " << begin << " to " << end);
        const Tensor cut = packed_values(backend(), weight.on(backend(), {0, 3}, {begin, end}));
        for (std::int64_t r = 0; r < 3; ++r) {
          expect_same_bits(cut.row(r), whole.row(r).subspan(begin, end - begin));
        }
      }
    }
  }
}

TEST_P(Matmul, NoRowsIsNoWork) {
  Random random(7);
  const WholeWeight weight(random, WeightFormat::f32, 3, 4);
  EXPECT_EQ(matmul_on(backend(), Tensor(0, 4), weight.on(backend()), {}).rows, 0);
}

INSTANTIATE_ON_EVERY_BACKEND(Matmul);

}  // namespace
}  // namespace sinkstream::kernels
