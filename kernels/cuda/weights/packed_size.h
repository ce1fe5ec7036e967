// How many bytes a weight takes on a GPU, without a GPU: plans are made anywhere. What stands in them:
// packed_weight.h.
#pragma once

#include <cstdint>

#include "base/round_up.h"
#include "kernels/weight.h"

namespace sinkstream::kernels::cuda {

// A record has a tile's out-features x a group's inputs.
inline constexpr int kTileFeatures = 16;
inline constexpr int kGroupInputs = static_cast<int>(kGroupSize);

constexpr int value_bytes_of_record(WeightFormat format) {
  return format == WeightFormat::bf16 ? 1024 : format == WeightFormat::int8 ? 512 : 256;
}
constexpr int step_bytes_of_record(WeightFormat format) {
  return format == WeightFormat::bf16 ? 0 : format == WeightFormat::int8 ? 32 : 64;
}
constexpr int record_bytes(WeightFormat format) {
  return value_bytes_of_record(format) + step_bytes_of_record(format);
}

// Elements of a row of f32, which begins at 16 bytes.
constexpr std::int64_t f32_row_stride(std::int64_t in_features) {
  return round_up(in_features, 4);
}

inline std::int64_t packed_size(const WeightShape& shape) {
  if (shape.format == WeightFormat::f32) {
    return shape.out_features * f32_row_stride(shape.in_features) * static_cast<std::int64_t>(sizeof(float));
  }
  return round_up(shape.out_features, kTileFeatures) / kTileFeatures * shape.groups() *
         record_bytes(shape.format);
}

}  // namespace sinkstream::kernels::cuda
