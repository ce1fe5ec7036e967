#include <cmath>
#include <utility>

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

class Gelu : public OnEveryInstructionSet {};

using Activation = void (*)(Context&, ConstMatrix, Matrix);
using ReferenceActivation = void (*)(ConstMatrix, Matrix);
constexpr std::pair<Activation, ReferenceActivation> kGelus[] = {{gelu, reference::gelu},
                                                                 {gelu_tanh, reference::gelu_tanh}};

// Where the factor of x nears zero it is the difference of two numbers near one.
double gelu_bound(float x) {
  return 6 * kEpsilon * std::abs(x);
}

TEST_P(Gelu, IsLikeTheReference) {
  ThreadPool threads(2);
  Context context{threads};
  for (const auto& [fast, plain] : kGelus) {
    for (const std::int64_t width : {1, 3, 7, 8, 17, 33, 65, 5003}) {
      SCOPED_TRACE(width);
      Random random(static_cast<std::uint32_t>(width));
      Tensor x = random.matrix(5, width);
      for (float& value : x.data) value *= 8;
      Tensor actual(5, width);
      Tensor expected(5, width);
      fast(context, x, actual);
      plain(x, expected);
      expect_close(actual, expected, [&](std::int64_t r, std::int64_t i) { return gelu_bound(x.row(r)[i]); });
    }
  }
}

TEST_P(Gelu, HoldsForExtremes) {
  Tensor x(1, 13);
  x.data = {0.0f, -0.0f, 1e-30f, -1e-30f, 4.0f, -4.0f, 5.7f, -5.7f, 12.0f, -12.0f, 300.0f, -300.0f, 1e10f};
  ThreadPool threads(1);
  Context context{threads};
  for (const auto& [fast, plain] : kGelus) {
    Tensor actual(1, 13);
    Tensor expected(1, 13);
    fast(context, x, actual);
    plain(x, expected);
    expect_close(actual, expected, [&](std::int64_t, std::int64_t i) { return gelu_bound(x.data[i]); });
  }
}

TEST_P(Gelu, AnElementsBitsDependOnItAlone) {
  Random random(4);
  const Tensor x = random.matrix(3, 5003);
  ThreadPool one_thread(1);
  Context context{one_thread};
  for (const auto& [fast, plain] : kGelus) {
    Tensor alone(3, 5003);
    for (std::size_t i = 0; i < x.data.size(); ++i) fast(context, {&x.data[i], 1, 1}, {&alone.data[i], 1, 1});
    for (const int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      Context several{pool};
      Tensor together(3, 5003);
      fast(several, x, together);
      expect_same_bits(together.data, alone.data);
    }
  }
}

INSTANTIATE_ON_EVERY_INSTRUCTION_SET(Gelu);

TEST(ScaleAndClip, AreExactForAnyNumberOfThreads) {
  Random random(6);
  const Tensor x = random.matrix(33, 3001);
  Tensor scaled = x, clipped = x;
  reference::scale(-1.7f, scaled);
  reference::clip(0.4f, clipped);
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    Context context{pool};
    Tensor actual = x;
    scale(context, -1.7f, actual);
    expect_same_bits(actual.data, scaled.data);
    actual = x;
    clip(context, 0.4f, actual);
    expect_same_bits(actual.data, clipped.data);
  }
}

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
