// How groups of a weight (kernels/weight.h), activations and heads of a ring of int8 (kernels/types.h) are
// quantized: one definition for all backends, so that what is stored has the same values on each. A group's
// extremes are found, and values rounded, by means of the backend's own.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/types.h"

namespace sinkstream::kernels {

inline constexpr float kLargestInt8 = 127.0f;
inline constexpr float kLargestInt4 = 15.0f;
inline constexpr float kLargestInt16 = 32767.0f;

// Stands for the scale of a group that isn't finite, or can't be read back as such, so that this shows. A
// function: what code on a GPU takes a constant's address for, as in `a ? b : kConstant`, ends its kernel.
constexpr bfloat16 no_scale() {
  return {0x7fc0};  // a quiet NaN
}

constexpr bool is_finite(float value) {
  return (std::bit_cast<std::uint32_t>(value) & 0x7f800000u) != 0x7f800000u;
}

// The largest bf16 that is no larger; `value` is a number.
constexpr bfloat16 rounded_down(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const bool cut = (bits & 0xffff) != 0;  // what follows the upper half, which is cut off towards zero
  return {static_cast<std::uint16_t>((bits >> 16) + (cut && value < 0 ? 1 : 0))};
}

// Of a finite group whose largest magnitude this is.
constexpr bfloat16 int8_scale(float largest) {
  return to_bfloat16(largest / kLargestInt8);
}

// What integers are multiples of that stand for activations, keys or values.
struct RoundingStep {
  float scale;
  float factor;  // by which numbers are multiplied to be rounded
};

// By the largest magnitude of theirs, which becomes `most`. One that isn't finite makes all of them NaN.
constexpr RoundingStep rounding_step(float largest, float most) {
  if (!is_finite(largest)) return {std::numeric_limits<float>::quiet_NaN(), 0};
  const float step = largest / most;
  const float scale = step > std::numeric_limits<float>::min() ? step : std::numeric_limits<float>::min();
  return {scale, 1 / scale};
}

struct Int4Steps {
  bfloat16 minimum;
  bfloat16 scale;
};

// Of a finite group. The scale is counted from the rounded minimum, and that is taken below the group where
// half a step would not make up for rounding up: in narrow groups far from zero.
constexpr Int4Steps int4_steps(float lowest, float highest) {
  bfloat16 minimum = to_bfloat16(lowest);
  if (to_float(minimum) - lowest > (highest - to_float(minimum)) / kLargestInt4 / 2) {
    minimum = rounded_down(lowest);
  }
  const bfloat16 scale = to_bfloat16((highest - to_float(minimum)) / kLargestInt4);
  const bool can_be_read = is_finite(kLargestInt4 * to_float(scale));  // not of +-3e38 together
  return {minimum, can_be_read ? scale : no_scale()};
}

}  // namespace sinkstream::kernels
