#include <algorithm>

#include "kernels/cpu/reference.h"
#include "support.h"

namespace sinkstream::kernels {
namespace {

class Matmul : public OnEveryInstructionSet {};

constexpr DType kWeightTypes[] = {DType::f32, DType::bf16};

void expect_like_reference(DType dtype, std::int64_t rows, std::int64_t in_features,
                           std::int64_t out_features, bool with_bias) {
  SCOPED_TRACE(testing::Message() << name_of(dtype) << ' ' << rows << " x " << in_features << " -> "
                                  << out_features << (with_bias ? " with bias" : ""));
  Random random(static_cast<std::uint32_t>(rows * 10'000 + in_features * 100 + out_features));
  const Tensor x = random.matrix(rows, in_features);
  const Weight weight(random, dtype, out_features, in_features);
  const std::vector<float> bias = random.numbers(with_bias ? out_features : 0);

  ThreadPool threads(2);
  Context context{threads};
  Tensor actual(rows, out_features);
  Tensor expected(rows, out_features);
  matmul(context, x, weight.view(), bias, actual);
  reference::matmul(x, weight.view(), bias, expected);

  std::vector<float> weight_norms;
  for (std::int64_t o = 0; o < out_features; ++o) {
    std::vector<float> column(in_features);
    for (std::int64_t i = 0; i < in_features; ++i) column[i] = weight.at(o, i);
    weight_norms.push_back(static_cast<float>(norm(column)));
  }
  expect_close(actual, expected, [&](std::int64_t r, std::int64_t o) {
    const double magnitude = norm(ConstMatrix(x).row(r)) * weight_norms[o] + (with_bias ? 1 : 0);
    return sum_error(in_features) * magnitude;
  });
}

TEST_P(Matmul, IsLikeTheReferenceForOddShapes) {
  for (const DType dtype : kWeightTypes) {
    for (const std::int64_t rows : {1, 2, 3, 4, 5, 7, 13}) {
      for (const std::int64_t in_features : {1, 3, 7, 8, 17, 33, 65}) {
        for (const std::int64_t out_features : {1, 3, 4, 7, 17, 33}) {
          expect_like_reference(dtype, rows, in_features, out_features, rows % 2 == 0);
        }
      }
    }
  }
}

TEST_P(Matmul, IsLikeTheReferenceForShapesThatAreCutForThreadsAndCache) {
  for (const DType dtype : kWeightTypes) {
    expect_like_reference(dtype, 1, 1031, 263, true);
    expect_like_reference(dtype, 65, 257, 66, false);
    expect_like_reference(dtype, 17, 9001, 9, true);  // several blocks of rows
  }
}

TEST_P(Matmul, ARowsBitsDependOnThatRowAlone) {
  for (const DType dtype : kWeightTypes) {
    for (const std::int64_t in_features : {17, 256, 9001}) {
      SCOPED_TRACE(testing::Message() << name_of(dtype) << ", " << in_features << " inputs");
      constexpr std::int64_t kRows = 14;
      constexpr std::int64_t kOutFeatures = 263;
      Random random(5);
      const Tensor x = random.matrix(kRows, in_features);
      const Weight weight(random, dtype, kOutFeatures, in_features);
      const std::vector<float> bias = random.numbers(kOutFeatures);

      Tensor alone(kRows, kOutFeatures);
      ThreadPool one_thread(1);
      Context context{one_thread};
      for (std::int64_t r = 0; r < kRows; ++r) {
        const ConstMatrix row{ConstMatrix(x).row(r).data(), 1, in_features};
        matmul(context, row, weight.view(), bias, {alone.row(r).data(), 1, kOutFeatures});
      }
      for (const int threads : {1, 2, 3}) {
        ThreadPool pool(threads);
        Context several{pool};
        for (std::int64_t rows = 1; rows <= kRows; ++rows) {
          Tensor together(rows, kOutFeatures);
          matmul(several, ConstMatrix(x).first_rows(rows), weight.view(), bias, together);
          expect_same_bits(together.data, std::span(alone.data).first(together.data.size()));
        }
      }
    }
  }
}

TEST_P(Matmul, AColumnsBitsDependOnItsWeightsAlone) {
  // A rank that holds columns [first, first + count) computes what the whole layer would.
  constexpr std::int64_t kInFeatures = 67;
  constexpr std::int64_t kOutFeatures = 23;
  Random random(6);
  const Tensor x = random.matrix(5, kInFeatures);
  const Weight weight(random, DType::bf16, kOutFeatures, kInFeatures);
  ThreadPool threads(1);
  Context context{threads};
  Tensor whole(5, kOutFeatures);
  matmul(context, x, weight.view(), {}, whole);
  for (std::int64_t first = 0; first < kOutFeatures; ++first) {
    const std::int64_t count = std::min<std::int64_t>(6, kOutFeatures - first);
    Tensor part(5, count);
    matmul(context, x, {weight.bf16.data() + first * kInFeatures, DType::bf16, count, kInFeatures}, {}, part);
    for (std::int64_t r = 0; r < 5; ++r) expect_same_bits(part.row(r), whole.row(r).subspan(first, count));
  }
}

TEST_P(Matmul, NoRowsIsNoWork) {
  Random random(7);
  const Weight weight(random, DType::f32, 3, 4);
  ThreadPool threads(2);
  Context context{threads};
  Tensor out(0, 3);
  EXPECT_NO_THROW(matmul(context, Tensor(0, 4), weight.view(), {}, out));
}

INSTANTIATE_ON_EVERY_INSTRUCTION_SET(Matmul);

}  // namespace
}  // namespace sinkstream::kernels
