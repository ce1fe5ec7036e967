// How the backends of this host lay a weight out: in the order in which a matrix product reads it, for one
// row or for many.
//
// A panel is 16 output features, beside each other in vectors. Its inputs stand in pairs, as instructions
// that multiply and add two at a time want them:
//   f32   [panels][pairs][2 inputs][16 features] float32
//   bf16  [panels][pairs][16 features][2 inputs] bf16
// Quantized, its inputs stand in groups, each with its scales behind it, so that a panel is read in one run:
//   int8  [panels][groups] { [16 pairs][16 features][2 inputs] int8, scales [16] bf16 }
//   int4  [panels][groups] { [8][16 features][2 inputs] bytes, scales [16] bf16, minimums [16] bf16 }
// where a byte of int4 has a value of pair 2i in its lower half, and of pair 2i + 1 in its upper.
//
// Input c of this rank stands at columns_before + c. What is no input of this rank, and features past the
// last, are never written: they stay zero, as the memory was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/types.h"
#include "kernels/weight.h"

namespace sinkstream::kernels {

inline constexpr std::int64_t kPanelFeatures = 16;
inline constexpr std::int64_t kGroupPairs = kGroupSize / 2;

// Pairs of a group that are unpacked from the same bytes.
template <WeightFormat kFormat>
inline constexpr int kPairsTogether = kFormat == WeightFormat::int4 ? 2 : 1;

// Of a panel.
constexpr std::int64_t pair_bytes(WeightFormat format) {
  constexpr std::int64_t kBytesOfInput[] = {64, 32, 16, 8};
  return 2 * kBytesOfInput[static_cast<int>(format)];
}
// Of a panel, with scales.
constexpr std::int64_t group_bytes(WeightFormat format) {
  const std::int64_t steps = format == WeightFormat::int4 ? 2 : is_quantized(format) ? 1 : 0;
  return kGroupPairs * pair_bytes(format) + steps * kPanelFeatures * std::int64_t{sizeof(bfloat16)};
}

// Memory of a weight: so laid out, in whole huge pages where it fills one.
std::int64_t host_packed_bytes(const WeightShape& shape);

class PackedWeight {
 public:
  explicit PackedWeight(const Weight& weight);

  const WeightShape& shape() const { return shape_; }
  std::int64_t panels() const { return (shape_.out_features + kPanelFeatures - 1) / kPanelFeatures; }
  std::byte* panel(std::int64_t index) const { return memory_ + index * panel_bytes_; }
  // Inputs of a row of activations as they stand in a panel: columns_before, then this rank's, to the end of
  // the last pair or group.
  std::int64_t pairs() const { return pairs_; }

  // A row as float32.   out [in_features]
  void read_row(std::int64_t row, std::span<float> out) const;

  // Packs a row.   columns [shape.packed_columns()]
  void pack_row(std::int64_t row, std::span<const float> columns) const;

 private:
  // Of one feature: a group's columns, and those of them that stand here.
  struct Group;
  template <typename Function>
  void for_each_group(std::int64_t row, const Function& function) const;
  std::byte* feature(std::int64_t row) const;
  void pack_int8_row(std::int64_t row, std::span<const float> columns) const;
  void pack_int4_row(std::int64_t row, std::span<const float> columns) const;

  WeightShape shape_;
  std::int64_t pairs_;
  std::int64_t panel_bytes_;
  std::byte* memory_;
};

}  // namespace sinkstream::kernels
