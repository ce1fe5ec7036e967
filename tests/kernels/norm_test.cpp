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

}  // namespace
}  // namespace sinkstream::kernels
