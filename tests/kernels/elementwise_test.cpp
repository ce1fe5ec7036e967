#include <cmath>

#include "kernels/cpu/reference.h"
#include "support.h"

namespace sinkstream::kernels {
namespace {

class SiluMultiply : public OnEveryInstructionSet {};

// A few roundings, and what a number too small for float32 loses.
double silu_bound(float expected, float up) {
  return 8 * kEpsilon * std::abs(expected) + std::numeric_limits<float>::min() * (1 + std::abs(up));
}

TEST_P(SiluMultiply, IsLikeTheReference) {
  ThreadPool threads(2);
  Context context{threads};
  for (const std::int64_t width : {1, 3, 7, 8, 17, 33, 65, 5003}) {
    SCOPED_TRACE(width);
    Random random(static_cast<std::uint32_t>(width));
    Tensor gate_up = random.matrix(5, 2 * width);
    for (float& value : gate_up.data) value *= 30;
    Tensor actual(5, width);
    Tensor expected(5, width);
    silu_multiply(context, gate_up, actual);
    reference::silu_multiply(gate_up, expected);
    expect_close(actual, expected, [&](std::int64_t r, std::int64_t i) {
      return silu_bound(expected.row(r)[i], gate_up.row(r)[width + i]);
    });
  }
}

TEST_P(SiluMultiply, HoldsForExtremeGates) {
  const std::vector<float> gates = {0.0f,   -0.0f,   1e-30f, -1e-30f, 16.0f, -16.0f, 88.8f,
                                    -88.8f, -104.5f, 200.0f, -200.0f, 1e30f, -1e30f};
  const std::int64_t width = std::ssize(gates);
  Tensor gate_up(1, 2 * width);
  for (std::int64_t i = 0; i < width; ++i) {
    gate_up.row(0)[i] = gates[i];
    gate_up.row(0)[width + i] = 0.5f;
  }
  ThreadPool threads(1);
  Context context{threads};
  Tensor actual(1, width);
  Tensor expected(1, width);
  silu_multiply(context, gate_up, actual);
  reference::silu_multiply(gate_up, expected);
  expect_close(actual, expected,
               [&](std::int64_t, std::int64_t i) { return silu_bound(expected.data[i], 0.5f); });
}

TEST_P(SiluMultiply, AnElementsBitsDependOnItAlone) {
  constexpr std::int64_t kWidth = 5003;
  Random random(4);
  const Tensor gate_up = random.matrix(3, 2 * kWidth);
  ThreadPool one_thread(1);
  Context context{one_thread};
  Tensor alone(3, kWidth);
  for (std::int64_t r = 0; r < 3; ++r) {
    for (std::int64_t i = 0; i < kWidth; ++i) {
      const float pair[2] = {ConstMatrix(gate_up).row(r)[i], ConstMatrix(gate_up).row(r)[kWidth + i]};
      silu_multiply(context, {pair, 1, 2}, {&alone.row(r)[i], 1, 1});
    }
  }
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    Context several{pool};
    Tensor together(3, kWidth);
    silu_multiply(several, gate_up, together);
    expect_same_bits(together.data, alone.data);
  }
}

INSTANTIATE_ON_EVERY_INSTRUCTION_SET(SiluMultiply);

TEST(Add, IsExactForAnyNumberOfThreads) {
  Random random(5);
  const Tensor x = random.matrix(33, 3001);
  const Tensor y = random.matrix(33, 3001);
  Tensor expected = x;
  reference::add(y, expected);
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    Context context{pool};
    Tensor actual = x;
    add(context, y, actual);
    expect_same_bits(actual.data, expected.data);
  }
}

}  // namespace
}  // namespace sinkstream::kernels
