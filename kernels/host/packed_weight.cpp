#include "kernels/host/packed_weight.h"

#include <algorithm>
#include <cmath>

#include "kernels/host/host_memory.h"
#include "kernels/quantization.h"

namespace sinkstream::kernels {
namespace {

bool are_finite(std::span<const float> group) {
  return std::ranges::all_of(group, is_finite);
}

Int4Steps int4_steps_of(std::span<const float> group) {
  if (!are_finite(group)) return {kNoScale, kNoScale};
  const auto [lowest, highest] = std::ranges::minmax(group);
  return int4_steps(lowest, highest);
}

// `value` in steps of `scale`; 0 where steps are none.
int quantize(float value, float scale, float lowest, float highest) {
  if (!(scale > 0.0f)) return 0;
  return static_cast<int>(std::clamp(std::nearbyint(value / scale), lowest, highest));
}

}  // namespace

std::int64_t host_packed_bytes(const WeightShape& shape) {
  return in_huge_pages(unpadded_bytes(shape));
}

struct PackedWeight::Group {
  std::int64_t index = 0;         // of its scale among all rows'
  std::int64_t first = 0;         // in the columns that a row is packed from
  std::int64_t count = 0;         // columns, also those on other ranks
  std::int64_t first_stored = 0;  // of the columns that stand here
  std::int64_t end_stored = 0;
};

PackedWeight::PackedWeight(const Weight& weight)
    : shape_(weight.shape),
      values_(reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(weight.memory.address()))) {
  const std::int64_t scales = shape_.out_features * shape_.groups();
  scales_ = reinterpret_cast<bfloat16*>(values_ + shape_.value_bytes());
  minimums_ = scales_ + scales;
}

template <typename Function>
void PackedWeight::for_each_group(std::int64_t row, const Function& function) const {
  for (std::int64_t g = 0; g < shape_.groups(); ++g) {
    const std::int64_t first = g * kGroupSize;
    const std::int64_t end = std::min(first + kGroupSize, shape_.packed_columns());
    function(Group{.index = row * shape_.groups() + g,
                   .first = first,
                   .count = end - first,
                   .first_stored = std::max<std::int64_t>(0, first - shape_.columns_before),
                   .end_stored = std::min(end - shape_.columns_before, shape_.in_features)});
  }
}

void PackedWeight::read_row(std::int64_t row, std::span<float> out) const {
  const std::byte* const bytes = values_ + row * shape_.row_bytes();
  switch (shape_.format) {
    case WeightFormat::f32:
      std::copy_n(reinterpret_cast<const float*>(bytes), out.size(), out.begin());
      break;
    case WeightFormat::bf16: {
      const auto* const values = reinterpret_cast<const bfloat16*>(bytes);
      std::transform(values, values + out.size(), out.begin(),
                     [](bfloat16 value) { return to_float(value); });
      break;
    }
    case WeightFormat::int8:
      for_each_group(row, [&](const Group& group) {
        const float scale = to_float(scales_[group.index]);
        const auto* const values = reinterpret_cast<const std::int8_t*>(bytes);
        for (std::int64_t i = group.first_stored; i < group.end_stored; ++i) {
          out[i] = scale * static_cast<float>(values[i]);
        }
      });
      break;
    case WeightFormat::int4:
      for_each_group(row, [&](const Group& group) {
        const float scale = to_float(scales_[group.index]);
        const float minimum = to_float(minimums_[group.index]);
        const auto* const pairs = reinterpret_cast<const std::uint8_t*>(bytes);
        for (std::int64_t i = group.first_stored; i < group.end_stored; ++i) {
          out[i] = minimum + scale * static_cast<float>(pairs[i / 2] >> (i % 2 * 4) & 15);
        }
      });
      break;
  }
}

void PackedWeight::pack_row(std::int64_t row, std::span<const float> columns) const {
  std::byte* const bytes = values_ + row * shape_.row_bytes();
  switch (shape_.format) {
    case WeightFormat::f32:
      std::ranges::copy(columns, reinterpret_cast<float*>(bytes));
      break;
    case WeightFormat::bf16:
      std::ranges::transform(columns, reinterpret_cast<bfloat16*>(bytes), to_bfloat16);
      break;
    case WeightFormat::int8:
      pack_int8_row(row, columns);
      break;
    case WeightFormat::int4:
      pack_int4_row(row, columns);
      break;
  }
}

void PackedWeight::pack_int8_row(std::int64_t row, std::span<const float> columns) const {
  auto* const values = reinterpret_cast<std::int8_t*>(values_ + row * shape_.row_bytes());
  for_each_group(row, [&](const Group& group) {
    const auto whole = columns.subspan(group.first, group.count);
    float largest = 0;
    for (const float value : whole) largest = std::max(largest, std::abs(value));
    scales_[group.index] = are_finite(whole) ? int8_scale(largest) : kNoScale;
    const float scale = to_float(scales_[group.index]);
    for (std::int64_t i = group.first_stored; i < group.end_stored; ++i) {
      const float value = columns[shape_.columns_before + i];
      values[i] = static_cast<std::int8_t>(quantize(value, scale, -kLargestInt8, kLargestInt8));
    }
  });
}

void PackedWeight::pack_int4_row(std::int64_t row, std::span<const float> columns) const {
  auto* const pairs = reinterpret_cast<std::uint8_t*>(values_ + row * shape_.row_bytes());
  std::fill_n(pairs, shape_.row_bytes(), std::uint8_t{0});
  for_each_group(row, [&](const Group& group) {
    const auto whole = columns.subspan(group.first, group.count);
    const Int4Steps steps = int4_steps_of(whole);
    minimums_[group.index] = steps.minimum;
    scales_[group.index] = steps.scale;
    const float minimum = to_float(minimums_[group.index]);
    const float scale = to_float(scales_[group.index]);
    for (std::int64_t i = group.first_stored; i < group.end_stored; ++i) {
      const float value = columns[shape_.columns_before + i] - minimum;
      const int step = quantize(value, scale, 0.0f, kLargestInt4);
      pairs[i / 2] = static_cast<std::uint8_t>(pairs[i / 2] | step << (i % 2 * 4));
    }
  });
}

}  // namespace sinkstream::kernels
