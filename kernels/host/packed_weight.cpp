#include "kernels/host/packed_weight.h"

#include <algorithm>
#include <cmath>

#include "base/round_up.h"
#include "kernels/host/host_memory.h"
#include "kernels/quantization.h"

namespace sinkstream::kernels {
namespace {

bool are_finite(std::span<const float> group) {
  return std::ranges::all_of(group, is_finite);
}

Int4Steps int4_steps_of(std::span<const float> group) {
  if (!are_finite(group)) return {no_scale(), no_scale()};
  const auto [lowest, highest] = std::ranges::minmax(group);
  return int4_steps(lowest, highest);
}

// `value` in steps of `scale`; 0 where steps are none.
int quantize(float value, float scale, float lowest, float highest) {
  if (!(scale > 0.0f)) return 0;
  return static_cast<int>(std::clamp(std::nearbyint(value / scale), lowest, highest));
}

std::int64_t pairs_of(const WeightShape& shape) {
  if (shape.in_features == 0) return 0;
  return is_quantized(shape.format) ? shape.groups() * kGroupPairs : (shape.in_features + 1) / 2;
}

std::int64_t panel_bytes_of(const WeightShape& shape) {
  if (is_quantized(shape.format)) return pairs_of(shape) / kGroupPairs * group_bytes(shape.format);
  return pairs_of(shape) * pair_bytes(shape.format);
}

}  // namespace

std::int64_t host_packed_bytes(const WeightShape& shape) {
  return in_huge_pages(round_up(shape.out_features, kPanelFeatures) / kPanelFeatures * panel_bytes_of(shape));
}

struct PackedWeight::Group {
  std::byte* values = nullptr;  // of this feature's first pair
  bfloat16* scale = nullptr;
  bfloat16* minimum = nullptr;    // of int4
  std::int64_t first = 0;         // in the columns that a row is packed from
  std::int64_t count = 0;         // columns, also those on other ranks
  std::int64_t begin_stored = 0;  // of the columns that stand here, within the group
  std::int64_t end_stored = 0;

  // Where the value of a column of the group stands.
  std::int8_t& int8(std::int64_t column) const {
    return reinterpret_cast<std::int8_t&>(values[column / 2 * pair_bytes(WeightFormat::int8) + column % 2]);
  }
  std::uint8_t& int4(std::int64_t column) const {
    return reinterpret_cast<std::uint8_t&>(values[column / 4 * 2 * kPanelFeatures + column % 2]);
  }
  static int int4_shift(std::int64_t column) { return static_cast<int>(column % 4 / 2 * 4); }
};

PackedWeight::PackedWeight(const Weight& weight)
    : shape_(weight.shape),
      pairs_(pairs_of(shape_)),
      panel_bytes_(panel_bytes_of(shape_)),
      memory_(reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(weight.memory.address()))) {}

template <typename Function>
void PackedWeight::for_each_group(std::int64_t row, const Function& function) const {
  const std::int64_t lane = row % kPanelFeatures;
  const std::int64_t bytes = group_bytes(shape_.format);
  for (std::int64_t g = 0; g < shape_.groups(); ++g) {
    const std::int64_t first = g * kGroupSize;
    const std::int64_t end = std::min(first + kGroupSize, shape_.packed_columns());
    std::byte* const record = memory_ + row / kPanelFeatures * panel_bytes_ + g * bytes;
    auto* const scales = reinterpret_cast<bfloat16*>(record + kGroupPairs * pair_bytes(shape_.format));
    function(Group{.values = record + 2 * lane,
                   .scale = scales + lane,
                   .minimum = scales + kPanelFeatures + lane,
                   .first = first,
                   .count = end - first,
                   .begin_stored = std::max<std::int64_t>(0, shape_.columns_before - first),
                   .end_stored = std::min(end, shape_.columns_before + shape_.in_features) - first});
  }
}

// The first value of a feature of f32 or bf16.
std::byte* PackedWeight::feature(std::int64_t row) const {
  const std::int64_t lane_bytes = shape_.format == WeightFormat::f32 ? sizeof(float) : 2 * sizeof(bfloat16);
  return memory_ + row / kPanelFeatures * panel_bytes_ + row % kPanelFeatures * lane_bytes;
}

void PackedWeight::read_row(std::int64_t row, std::span<float> out) const {
  switch (shape_.format) {
    case WeightFormat::f32: {
      const auto* const values = reinterpret_cast<const float*>(feature(row));
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = values[i * kPanelFeatures];
      break;
    }
    case WeightFormat::bf16: {
      const auto* const values = reinterpret_cast<const bfloat16*>(feature(row));
      for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = to_float(values[i / 2 * (2 * kPanelFeatures) + i % 2]);
      }
      break;
    }
    case WeightFormat::int8:
      for_each_group(row, [&](const Group& group) {
        const float scale = to_float(*group.scale);
        for (std::int64_t i = group.begin_stored; i < group.end_stored; ++i) {
          out[group.first + i - shape_.columns_before] = scale * static_cast<float>(group.int8(i));
        }
      });
      break;
    case WeightFormat::int4:
      for_each_group(row, [&](const Group& group) {
        const float scale = to_float(*group.scale);
        const float minimum = to_float(*group.minimum);
        for (std::int64_t i = group.begin_stored; i < group.end_stored; ++i) {
          const int step = group.int4(i) >> Group::int4_shift(i) & 15;
          out[group.first + i - shape_.columns_before] = minimum + scale * static_cast<float>(step);
        }
      });
      break;
  }
}

void PackedWeight::pack_row(std::int64_t row, std::span<const float> columns) const {
  switch (shape_.format) {
    case WeightFormat::f32: {
      auto* const values = reinterpret_cast<float*>(feature(row));
      for (std::size_t i = 0; i < columns.size(); ++i) values[i * kPanelFeatures] = columns[i];
      break;
    }
    case WeightFormat::bf16: {
      auto* const values = reinterpret_cast<bfloat16*>(feature(row));
      for (std::size_t i = 0; i < columns.size(); ++i) {
        values[i / 2 * (2 * kPanelFeatures) + i % 2] = to_bfloat16(columns[i]);
      }
      break;
    }
    case WeightFormat::int8:
      pack_int8_row(row, columns);
      break;
    case WeightFormat::int4:
      pack_int4_row(row, columns);
      break;
  }
}

void PackedWeight::pack_int8_row(std::int64_t row, std::span<const float> columns) const {
  for_each_group(row, [&](const Group& group) {
    const auto whole = columns.subspan(group.first, group.count);
    float largest = 0;
    for (const float value : whole) largest = std::max(largest, std::abs(value));
    *group.scale = are_finite(whole) ? int8_scale(largest) : no_scale();
    const float scale = to_float(*group.scale);
    for (std::int64_t i = group.begin_stored; i < group.end_stored; ++i) {
      group.int8(i) = static_cast<std::int8_t>(quantize(whole[i], scale, -kLargestInt8, kLargestInt8));
    }
  });
}

void PackedWeight::pack_int4_row(std::int64_t row, std::span<const float> columns) const {
  for_each_group(row, [&](const Group& group) {
    const auto whole = columns.subspan(group.first, group.count);
    const Int4Steps steps = int4_steps_of(whole);
    *group.minimum = steps.minimum;
    *group.scale = steps.scale;
    const float minimum = to_float(steps.minimum);
    const float scale = to_float(steps.scale);
    for (std::int64_t i = group.begin_stored; i < group.end_stored; ++i) {
      const int step = quantize(whole[i] - minimum, scale, 0.0f, kLargestInt4);
      const int others = group.int4(i) & (0xf0 >> Group::int4_shift(i));
      group.int4(i) = static_cast<std::uint8_t>(others | step << Group::int4_shift(i));
    }
  });
}

}  // namespace sinkstream::kernels
