#include <algorithm>
#include <cmath>

#include "tests/kernels/on_device.h"

namespace sinkstream::kernels {
namespace {

Tensor silu_multiply_on(Backend& backend, const Tensor& gate_up) {
  const DeviceTensor input(backend, gate_up);
  const DeviceTensor out(backend, gate_up.rows, gate_up.cols / 2);
  backend.silu_multiply(input, out);
  return out.read();
}

class SiluMultiply : public OnEveryBackend {};

// A few roundings, and what a number too small for float32 loses.
double silu_bound(float expected, float up) {
  return 8 * kEpsilon * std::abs(expected) + std::numeric_limits<float>::min() * (1 + std::abs(up));
}

TEST_P(SiluMultiply, IsLikeTheReference) {
  for (const std::int64_t width : {1, 3, 7, 8, 17, 33, 65, 5003}) {
    SCOPED_TRACE(width);
    Random random(static_cast<std::uint32_t>(width));
    Tensor gate_up = random.matrix(5, 2 * width);
    for (float& value : gate_up.data) value *= 30;
    const Tensor expected = silu_multiply_on(reference(), gate_up);
    expect_close(silu_multiply_on(backend(), gate_up), expected, [&](std::int64_t r, std::int64_t i) {
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
  const Tensor expected = silu_multiply_on(reference(), gate_up);
  expect_close(silu_multiply_on(backend(), gate_up), expected,
               [&](std::int64_t, std::int64_t i) { return silu_bound(expected.data[i], 0.5f); });
}

TEST_P(SiluMultiply, AnElementsBitsDependOnItAlone) {
  constexpr std::int64_t kWidth = 5003;
  Random random(4);
  const Tensor gate_up = random.matrix(3, 2 * kWidth);
  Tensor pairs(3 * kWidth, 2);  // [gate, up] of each element
  for (std::int64_t i = 0; i < 3 * kWidth; ++i) {
    pairs.row(i)[0] = gate_up.row(i / kWidth)[i % kWidth];
    pairs.row(i)[1] = gate_up.row(i / kWidth)[kWidth + i % kWidth];
  }
  const DeviceTensor each(backend(), pairs);
  const DeviceTensor alone(backend(), 3 * kWidth, 1);
  for (std::int64_t i = 0; i < 3 * kWidth; ++i) backend().silu_multiply(each.rows(i, 1), alone.rows(i, 1));
  const Tensor expected = alone.read();
  for (const int threads : thread_counts()) {
    expect_same_bits(silu_multiply_on(*on_threads(threads), gate_up).data, expected.data);
  }
}

INSTANTIATE_ON_EVERY_BACKEND(SiluMultiply);

class Gelu : public OnEveryBackend {};

using Activation = void (Backend::*)(ConstMatrix, Matrix);
constexpr Activation kGelus[] = {&Backend::gelu, &Backend::gelu_tanh};

Tensor gelu_on(Backend& backend, Activation activation, const Tensor& x) {
  const DeviceTensor input(backend, x);
  const DeviceTensor out(backend, x.rows, x.cols);
  (backend.*activation)(input, out);
  return out.read();
}

// Where the factor of x nears zero it is the difference of two numbers near one.
double gelu_bound(float x) {
  return 6 * kEpsilon * std::abs(x);
}

TEST_P(Gelu, IsLikeTheReference) {
  for (const Activation activation : kGelus) {
    for (const std::int64_t width : {1, 3, 7, 8, 17, 33, 65, 5003}) {
      SCOPED_TRACE(width);
      Random random(static_cast<std::uint32_t>(width));
      Tensor x = random.matrix(5, width);
      for (float& value : x.data) value *= 8;
      expect_close(gelu_on(backend(), activation, x), gelu_on(reference(), activation, x),
                   [&](std::int64_t r, std::int64_t i) { return gelu_bound(x.row(r)[i]); });
    }
  }
}

TEST_P(Gelu, HoldsForExtremes) {
  Tensor x(1, 13);
  x.data = {0.0f, -0.0f, 1e-30f, -1e-30f, 4.0f, -4.0f, 5.7f, -5.7f, 12.0f, -12.0f, 300.0f, -300.0f, 1e10f};
  for (const Activation activation : kGelus) {
    expect_close(gelu_on(backend(), activation, x), gelu_on(reference(), activation, x),
                 [&](std::int64_t, std::int64_t i) { return gelu_bound(x.data[i]); });
  }
}

TEST_P(Gelu, AnElementsBitsDependOnItAlone) {
  constexpr std::int64_t kElements = 3 * 5003;
  Random random(4);
  Tensor x = random.matrix(3, 5003);
  for (const Activation activation : kGelus) {
    Tensor column = x;
    column.rows = kElements;
    column.cols = 1;
    const DeviceTensor each(backend(), column);
    const DeviceTensor alone(backend(), kElements, 1);
    for (std::int64_t i = 0; i < kElements; ++i) (backend().*activation)(each.rows(i, 1), alone.rows(i, 1));
    const Tensor expected = alone.read();
    for (const int threads : thread_counts()) {
      expect_same_bits(gelu_on(*on_threads(threads), activation, x).data, expected.data);
    }
  }
}

INSTANTIATE_ON_EVERY_BACKEND(Gelu);

class Elements : public OnEveryBackend {};

TEST_P(Elements, ScaleClipAndAddAreExactForAnyNumberOfThreads) {
  Random random(6);
  const Tensor x = random.matrix(33, 3001);
  const Tensor y = random.matrix(33, 3001);
  Tensor scaled = x, clipped = x, sums = x;
  for (float& value : scaled.data) value *= -1.7f;
  for (float& value : clipped.data) value = std::clamp(value, -0.4f, 0.4f);
  for (std::size_t i = 0; i < sums.data.size(); ++i) sums.data[i] += y.data[i];
  for (const int threads : thread_counts()) {
    const auto several = on_threads(threads);
    const DeviceTensor to_scale(*several, x), to_clip(*several, x), to_add(*several, x), added(*several, y);
    several->scale(-1.7f, to_scale);
    several->clip(0.4f, to_clip);
    several->add(added, to_add);
    expect_same_bits(to_scale.read().data, scaled.data);
    expect_same_bits(to_clip.read().data, clipped.data);
    expect_same_bits(to_add.read().data, sums.data);
  }
}

TEST_P(Elements, SelectedRowsAreCopies) {
  Random random(7);
  const Tensor x = random.matrix(9, 13);
  const std::vector<std::int32_t> selected = {8, 0, 3, 3};
  const DeviceTensor from(backend(), x);
  const OnDevice<std::int32_t> rows(backend(), selected);
  const DeviceTensor to(backend(), 4, 13);
  backend().select_rows(from, rows, to);
  const Tensor out = to.read();
  for (std::int64_t i = 0; i < 4; ++i) expect_same_bits(out.row(i), x.row(selected[i]));
}

INSTANTIATE_ON_EVERY_BACKEND(Elements);

}  // namespace
}  // namespace sinkstream::kernels
