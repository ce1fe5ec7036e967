// The least that a weight can take.
#pragma once

#include <cstdint>
#include <stdexcept>

#include "base/round_up.h"
#include "kernels/weight.h"

namespace sinkstream::kernels {

// Bytes of values, scales and minimums with next to no padding (rows of int4 begin at a byte, scales at an
// even one): what no backend's layout is below.
inline std::int64_t unpadded_bytes(const WeightShape& shape) {
  const auto row_bytes = [&] {
    switch (shape.format) {
      case WeightFormat::f32:
        return 4 * shape.in_features;
      case WeightFormat::bf16:
        return 2 * shape.in_features;
      case WeightFormat::int8:
        return shape.in_features;
      case WeightFormat::int4:
        return (shape.in_features + 1) / 2;
    }
    throw std::invalid_argument("WeightShape: no such format");
  };
  const std::int64_t scale_bytes = 2 * shape.out_features * shape.groups();
  const std::int64_t scales = shape.format == WeightFormat::int4 ? 2 : is_quantized(shape.format) ? 1 : 0;
  return round_up(shape.out_features * row_bytes(), 2) + scales * scale_bytes;
}

}  // namespace sinkstream::kernels
