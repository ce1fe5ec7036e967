// A linear layer's weight as a backend keeps it: a format, a shape, and memory whose layout is the backend's
// own.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/range.h"
#include "kernels/device_memory.h"

namespace sinkstream::kernels {

// int8 and int4 are quantized in groups of kGroupSize neighbours along the input:
//   int8   value = scale * q,            q in [-127, 127], scale = largest magnitude of the group / 127
//   int4   value = minimum + scale * q,  q in [0, 15],     scale = (maximum - minimum) / 15
// Scales and minimums are bf16; the scale is counted from the rounded minimum, and q with both rounded.
enum class WeightFormat : std::uint8_t { f32, bf16, int8, int4 };

inline constexpr std::int64_t kGroupSize = 32;

constexpr std::string_view name_of(WeightFormat format) {
  constexpr std::string_view kNames[] = {"f32", "bf16", "int8", "int4"};
  return kNames[static_cast<int>(format)];
}

// No value: there is no format of this name.
std::optional<WeightFormat> parse_weight_format(std::string_view name);

constexpr bool is_quantized(WeightFormat format) {
  return format == WeightFormat::int8 || format == WeightFormat::int4;
}

// [out_features, in_features]. Groups are counted from the whole matrix's column 0, not from a rank's first,
// so that a weight has the same value on any number of ranks. Where ranks cut the input within a group, each
// keeps its own columns of it, quantized with the scale of the whole group:
//   columns_before, columns_after   columns of the first and of the last group that stand on other ranks
struct WeightShape {
  WeightFormat format = WeightFormat::f32;
  std::int64_t out_features = 0;
  std::int64_t in_features = 0;
  std::int64_t columns_before = 0;
  std::int64_t columns_after = 0;

  // What a packer is given of each row.
  std::int64_t packed_columns() const { return columns_before + in_features + columns_after; }
  // Groups of a row, the cut ones included.
  std::int64_t groups() const { return (packed_columns() + kGroupSize - 1) / kGroupSize; }

  bool operator==(const WeightShape&) const = default;
};

// The shape of columns `own` of a matrix [out_features, whole_width].
WeightShape weight_shape(WeightFormat format, std::int64_t out_features, Range own, std::int64_t whole_width);

// The columns of the whole matrix that a packer of columns `own` must be given: `own`, widened to whole
// groups.
Range columns_to_pack(WeightFormat format, Range own, std::int64_t whole_width);

struct Weight {
  WeightShape shape;
  Buffer memory;
};

}  // namespace sinkstream::kernels
