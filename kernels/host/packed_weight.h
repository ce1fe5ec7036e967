// How the backends of this host lay a weight out, one part after the other, each at an even byte:
//   values    [out_features, in_features] of f32, bf16, int8 or, each row beginning at a byte, int4: the even
//             column's in the lower half of a byte, the odd one's in the upper
//   scales    [out_features, groups] bf16, of int8 and int4
//   minimums  [out_features, groups] bf16, of int4
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/host_matrix.h"
#include "kernels/types.h"
#include "kernels/weight.h"

namespace sinkstream::kernels {

// Memory of a weight: so laid out, in whole huge pages where it fills one.
std::int64_t host_packed_bytes(const WeightShape& shape);

class PackedWeight {
 public:
  explicit PackedWeight(const Weight& weight);

  const WeightShape& shape() const { return shape_; }

  // The values of f32 (T float) and bf16 (T bfloat16) as they are.   [out_features, in_features]
  template <typename T>
  const T* values() const {
    return reinterpret_cast<const T*>(values_);
  }

  // A row as float32.   out [in_features]
  void read_row(std::int64_t row, std::span<float> out) const;

  // Packs a row.   columns [shape.packed_columns()]
  void pack_row(std::int64_t row, std::span<const float> columns) const;

 private:
  // A group's columns of a row, and those of them that stand here.
  struct Group;
  template <typename Function>
  void for_each_group(std::int64_t row, const Function& function) const;
  void pack_int8_row(std::int64_t row, std::span<const float> columns) const;
  void pack_int4_row(std::int64_t row, std::span<const float> columns) const;

  WeightShape shape_;
  std::byte* values_;
  bfloat16* scales_;
  bfloat16* minimums_;
};

}  // namespace sinkstream::kernels
