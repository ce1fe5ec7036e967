#include <cmath>

#include "kernels/cpu/reference.h"
#include "support.h"

namespace sinkstream::kernels {
namespace {

std::vector<float> frequencies(int half) {
  std::vector<float> values;
  for (int i = 0; i < half; ++i)
    values.push_back(std::pow(10000.0f, -static_cast<float>(i) / static_cast<float>(half)));
  return values;
}

TEST(RotaryAngles, AreExactToFloat32AtAnyPosition) {
  const std::vector<std::int64_t> positions = {0,       1,         2,         255,          4095,
                                               131'072, 4'000'000, 4'000'001, 1'000'000'007};
  for (const int half : {1, 3, 7, 32, 65}) {
    const std::int64_t rows = std::ssize(positions);
    Tensor cosines(rows, half);
    Tensor sines(rows, half);
    Tensor expected_cosines(rows, half);
    Tensor expected_sines(rows, half);
    ThreadPool threads(2);
    Context context{threads};
    rotary_angles(context, positions, frequencies(half), cosines, sines);
    reference::rotary_angles(positions, frequencies(half), expected_cosines, expected_sines);
    const auto one_rounding = [](std::int64_t, std::int64_t) { return kEpsilon / 2; };
    expect_close(cosines, expected_cosines, one_rounding);
    expect_close(sines, expected_sines, one_rounding);
  }
}

TEST(RotaryAngles, KnownValues) {
  // cos and sin of 4,000,000 radians, computed with 50 digits.
  const std::vector<std::int64_t> positions = {4'000'000};
  const std::vector<float> frequency = {1.0f};
  Tensor cosines(1, 1);
  Tensor sines(1, 1);
  ThreadPool threads(1);
  Context context{threads};
  rotary_angles(context, positions, frequency, cosines, sines);
  EXPECT_NEAR(cosines.data[0], 0.140077472730, kEpsilon);
  EXPECT_NEAR(sines.data[0], -0.990140546404, kEpsilon);
}

struct RotateCase {
  int heads;
  int head_dim;
  int half;
  std::int64_t first_column;
};

TEST(Rotate, IsLikeTheReference) {
  const std::vector<RotateCase> cases = {{1, 2, 1, 0},   {3, 8, 4, 5},   {2, 17, 3, 1},
                                         {4, 64, 32, 7}, {5, 65, 16, 0}, {1, 7, 3, 2}};
  for (const RotateCase& c : cases) {
    SCOPED_TRACE(testing::Message() << c.heads << " heads of " << c.head_dim << ", half " << c.half);
    constexpr std::int64_t kRows = 129;
    Random random(11);
    const Tensor x = random.matrix(kRows, c.first_column + c.heads * c.head_dim + 3);
    const Tensor cosines = random.matrix(kRows, c.half);
    const Tensor sines = random.matrix(kRows, c.half);
    Tensor expected(kRows, c.heads * c.head_dim);
    reference::rotate(x, c.first_column, c.heads, c.head_dim, cosines, sines, expected);

    Tensor first(kRows, c.heads * c.head_dim);
    for (const int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      Context context{pool};
      Tensor actual(kRows, c.heads * c.head_dim);
      rotate(context, x, c.first_column, c.heads, c.head_dim, cosines, sines, actual);
      // Two products and a sum of numbers below 1.
      expect_close(actual, expected, [](std::int64_t, std::int64_t) { return 2 * kEpsilon; });
      if (threads == 1) first = actual;
      expect_same_bits(actual.data, first.data);
    }
  }
}

TEST(Rotate, DimensionsBeyondTheRotatedOnesAreCopied) {
  Random random(12);
  const Tensor x = random.matrix(1, 6);
  ThreadPool threads(1);
  Context context{threads};
  Tensor out(1, 6);
  rotate(context, x, 0, 1, 6, random.matrix(1, 2), random.matrix(1, 2), out);
  EXPECT_NE(out.data[3], x.data[3]);
  EXPECT_EQ(out.data[4], x.data[4]);
  EXPECT_EQ(out.data[5], x.data[5]);
}

}  // namespace
}  // namespace sinkstream::kernels
