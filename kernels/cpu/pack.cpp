// Packs rows of a checkpoint into panels, from the type that they are stored in: whole panels by a vector's
// lanes, what is left of one at either end row by row.
#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/work.h"
#include "kernels/host/packed_weight.h"
#include "kernels/quantization.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/pack.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sinkstream::kernels::HWY_NAMESPACE {

using Integers = hn::RebindToSigned<Floats>;

// Columns that are packed together: a group, or as many of a weight without groups.
using Columns = std::span<const float, kGroupSize>;

// value / scale to the nearest whole number within [0, most] or [-most, most], as bytes; 0 where steps are
// none.
HWY_INLINE void quantize(Columns values, float minimum, float scale, float least, float most,
                         std::int8_t* steps) {
  if (!(scale > 0.0f)) {
    std::fill_n(steps, kGroupSize, std::int8_t{0});
    return;
  }
  const hn::Rebind<std::int8_t, Integers> bytes;
  for (std::int64_t i = 0; i < kGroupSize; i += kLanes) {
    const FloatVector above = hn::Sub(load(values.data() + i), hn::Set(Floats(), minimum));
    const FloatVector whole = hn::Round(hn::Div(above, hn::Set(Floats(), scale)));
    const FloatVector clamped = hn::Min(hn::Max(whole, hn::Set(Floats(), least)), hn::Set(Floats(), most));
    hn::StoreU(hn::DemoteTo(bytes, hn::ConvertTo(Integers(), clamped)), bytes, steps + i);
  }
}

// The largest magnitude; infinity and NaN are larger than all numbers.
HWY_INLINE float largest_magnitude(Columns values) {
  auto largest = hn::Zero(Integers());
  for (std::int64_t i = 0; i < kGroupSize; i += kLanes) {
    largest = hn::Max(largest, hn::BitCast(Integers(), hn::Abs(load(values.data() + i))));
  }
  return std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(Integers(), largest)));
}

HWY_INLINE Int4Steps int4_steps_of(Columns values) {
  if (!is_finite(largest_magnitude(values))) return {no_scale(), no_scale()};
  FloatVector lowest = load(values.data()), highest = lowest;
  for (std::int64_t i = kLanes; i < kGroupSize; i += kLanes) {
    lowest = hn::Min(lowest, load(values.data() + i));
    highest = hn::Max(highest, load(values.data() + i));
  }
  return int4_steps(hn::GetLane(hn::MinOfLanes(Floats(), lowest)),
                    hn::GetLane(hn::MaxOfLanes(Floats(), highest)));
}

// Both inputs of a pair, of each feature.
using PairsOfFeatures = std::uint16_t[kPanelFeatures][kGroupPairs];

void pack_int8_group(const float (&values)[kPanelFeatures][kGroupSize], std::byte* group) {
  PairsOfFeatures steps;
  bfloat16 scales[kPanelFeatures];
  for (std::int64_t f = 0; f < kPanelFeatures; ++f) {
    const Columns columns(values[f]);
    const float largest = largest_magnitude(columns);
    scales[f] = is_finite(largest) ? int8_scale(largest) : no_scale();
    quantize(columns, 0.0f, to_float(scales[f]), -kLargestInt8, kLargestInt8,
             reinterpret_cast<std::int8_t*>(steps[f]));
  }
  auto* const out = reinterpret_cast<std::uint16_t*>(group);
  for (std::int64_t p = 0; p < kGroupPairs; ++p) {
    for (std::int64_t f = 0; f < kPanelFeatures; ++f) out[p * kPanelFeatures + f] = steps[f][p];
  }
  std::memcpy(group + kGroupPairs * pair_bytes(WeightFormat::int8), scales, sizeof scales);
}

void pack_int4_group(const float (&values)[kPanelFeatures][kGroupSize], std::byte* group) {
  PairsOfFeatures steps;
  bfloat16 scales[2 * kPanelFeatures];
  for (std::int64_t f = 0; f < kPanelFeatures; ++f) {
    const Columns columns(values[f]);
    const Int4Steps found = int4_steps_of(columns);
    scales[f] = found.scale;
    scales[kPanelFeatures + f] = found.minimum;
    quantize(columns, to_float(found.minimum), to_float(found.scale), 0.0f, kLargestInt4,
             reinterpret_cast<std::int8_t*>(steps[f]));
  }
  auto* const out = reinterpret_cast<std::uint16_t*>(group);
  for (std::int64_t p = 0; p < kGroupPairs; p += 2) {
    for (std::int64_t f = 0; f < kPanelFeatures; ++f) {
      out[p / 2 * kPanelFeatures + f] = static_cast<std::uint16_t>(steps[f][p] | steps[f][p + 1] << 4);
    }
  }
  std::memcpy(group + kGroupPairs * pair_bytes(WeightFormat::int4), scales, sizeof scales);
}

// Moves words of 32 bits, [feature][word] in rows that lie anywhere, to [word][feature].
void turn_words(const StoredRows& rows, std::int64_t first_byte, std::int64_t words, std::byte* out) {
  std::uint32_t of_feature[kPanelFeatures][kGroupSize];
  for (std::int64_t f = 0; f < kPanelFeatures; ++f) {
    std::memcpy(of_feature[f], rows.row(f) + first_byte, static_cast<std::size_t>(words) * 4);
  }
  auto* const to = reinterpret_cast<std::uint32_t*>(out);
  for (std::int64_t w = 0; w < words; ++w) {
    for (std::int64_t f = 0; f < kPanelFeatures; ++f) to[w * kPanelFeatures + f] = of_feature[f][w];
  }
}

// rows: a panel's 16, of whole groups or pairs
void pack_panel(const StoredRows& rows, WeightFormat format, std::byte* panel) {
  const bool is_kept = (format == WeightFormat::f32 && rows.dtype == DType::f32) ||
                       (format == WeightFormat::bf16 && rows.dtype == DType::bf16);
  if (is_kept) {
    const std::int64_t row_words = rows.cols * static_cast<std::int64_t>(size_of(rows.dtype)) / 4;
    for (std::int64_t word = 0; word < row_words; word += kGroupSize) {
      turn_words(rows, word * 4, std::min(kGroupSize, row_words - word), panel + word * kPanelFeatures * 4);
    }
    return;
  }
  float values[kPanelFeatures][kGroupSize];
  bfloat16 rounded[kPanelFeatures][kGroupSize];
  const std::int64_t element = static_cast<std::int64_t>(size_of(rows.dtype));
  for (std::int64_t column = 0; column < rows.cols; column += kGroupSize) {
    const std::int64_t count = std::min(kGroupSize, rows.cols - column);
    for (std::int64_t f = 0; f < kPanelFeatures; ++f) {
      read_floats(rows.row(f) + column * element, rows.dtype,
                  std::span(values[f]).first(static_cast<std::size_t>(count)));
    }
    switch (format) {
      case WeightFormat::f32:
        turn_words(
            {reinterpret_cast<const std::byte*>(values), DType::f32, kPanelFeatures, count, sizeof values[0]},
            0, count, panel + column * kPanelFeatures * 4);
        break;
      case WeightFormat::bf16:
        for (std::int64_t f = 0; f < kPanelFeatures; ++f) {
          for (std::int64_t i = 0; i < count; ++i) rounded[f][i] = to_bfloat16(values[f][i]);
        }
        turn_words({reinterpret_cast<const std::byte*>(rounded), DType::bf16, kPanelFeatures, count,
                    sizeof rounded[0]},
                   0, count / 2, panel + column * kPanelFeatures * 2);
        break;
      case WeightFormat::int8:
        pack_int8_group(values, panel + column / kGroupSize * group_bytes(format));
        break;
      case WeightFormat::int4:
        pack_int4_group(values, panel + column / kGroupSize * group_bytes(format));
        break;
    }
  }
}

}  // namespace sinkstream::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sinkstream::kernels {

HWY_EXPORT(pack_panel);

namespace {

// Whether every row fills whole groups or pairs, none of which is another rank's in part.
bool is_even(const WeightShape& shape) {
  const std::int64_t together = is_quantized(shape.format) ? kGroupSize : 2;
  return shape.columns_before == 0 && shape.columns_after == 0 && shape.in_features % together == 0;
}

}  // namespace

void CpuBackend::do_pack(const StoredRows& rows, std::int64_t first_row, const Weight& weight) {
  const PackedWeight packed(weight);
  const std::int64_t first_panel = first_row / kPanelFeatures;
  const std::int64_t end_row = first_row + rows.rows;
  const std::int64_t panels = (end_row + kPanelFeatures - 1) / kPanelFeatures - first_panel;
  const auto pack_panels = [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> values(static_cast<std::size_t>(rows.cols));
    for (std::int64_t panel = first_panel + begin; panel < first_panel + end; ++panel) {
      const std::int64_t row = std::max(first_row, panel * kPanelFeatures);
      const std::int64_t count = std::min(end_row, (panel + 1) * kPanelFeatures) - row;
      if (count == kPanelFeatures && is_even(weight.shape)) {
        HWY_DYNAMIC_DISPATCH(pack_panel)
        (rows.some(row - first_row, count), weight.shape.format, packed.panel(panel));
        continue;
      }
      for (std::int64_t r = row; r < row + count; ++r) {
        rows.read(r - first_row, values);
        packed.pack_row(r, values);
      }
    }
  };
  threads_.parallel_for(panels, items_per_part(rows.cols * kPanelFeatures), pack_panels);
}

}  // namespace sinkstream::kernels
#endif
