// How a weight lies in a GPU's memory.
//
// f32    [out_features, row_stride] float32, rows padded to 16 bytes.
//
// bf16, int8, int4    [tiles][groups] records. A record has 16 out-features (a tile's) x 32 inputs (a
// group's), in the order in which a warp's lanes feed them to tensor cores: a step of the matrix product is
// one read of consecutive bytes, and a chunk of the inputs is one run of records.
//   values    bf16 [half][lane][4 pairs], int8 [lane][half][2 feature halves][4], int4 [lane][half][8], where
//             `half` is 16 of the inputs: Place says which value is whose
//   steps     int8 and int4: [8][scale (, minimum)][2] bf16, of feature r at [r % 8][..][r / 8]
// Groups are counted as in WeightShape: input c of this rank stands at columns_before + c. What is no input
// of this rank is zero, or (features past the last) not written.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/operations.h"
#include "kernels/cuda/ptx.h"
#include "kernels/cuda/simt.h"
#include "kernels/cuda/weights/packed_size.h"
#include "kernels/types.h"
#include "kernels/weight.h"

namespace sinkstream::kernels::cuda {

// Bytes from the start of a record.
template <WeightFormat kFormat>
__host__ __device__ inline int scale_offset(int feature) {
  constexpr int kSteps = kFormat == WeightFormat::int4 ? 2 : 1;
  return value_bytes_of_record(kFormat) + feature % 8 * (4 * kSteps) + feature / 8 * 2;
}
__host__ __device__ inline int minimum_offset(int feature) {
  return scale_offset<WeightFormat::int4>(feature) + 4;
}

// Where a value of a record stands: which register of which lane's operand of mma_bf16 (its a) it ends up in.
struct Place {
  int half;  // of the inputs
  int lane;
  int feature_half;  // the register is feature_half + 2 * input_quarter
  int input_quarter;
  int element;  // of the register

  __host__ __device__ Place(int feature, int input)
      : half(input / 16),
        lane(feature % 8 * 4 + input % 8 / 2),
        feature_half(feature / 8),
        input_quarter(input % 16 / 8),
        element(input % 2) {}

  __host__ __device__ int bf16_offset() const {
    return (half * kWarpSize + lane) * 16 + (feature_half + 2 * input_quarter) * 4 + element * 2;
  }
  // The bytes of a feature's four values of a lane's half stand together, so that a row is packed without
  // reading its neighbour's.
  __host__ __device__ int int8_offset() const {
    return lane * 16 + half * 8 + feature_half * 4 + element * 2 + input_quarter;
  }
  // Of the byte; the second input_quarter is in its upper half.
  __host__ __device__ int int4_offset() const { return lane * 8 + half * 4 + element * 2 + feature_half; }
};

// A value, as float32.
template <WeightFormat kFormat>
__device__ inline float read_value(const std::byte* record, int feature, int input) {
  const Place place(feature, input);
  const auto bf16_at = [&](int offset) {
    return to_float(*reinterpret_cast<const bfloat16*>(record + offset));
  };
  if constexpr (kFormat == WeightFormat::bf16) {
    return bf16_at(place.bf16_offset());
  } else if constexpr (kFormat == WeightFormat::int8) {
    const auto steps = *reinterpret_cast<const std::int8_t*>(record + place.int8_offset());
    return bf16_at(scale_offset<kFormat>(feature)) * static_cast<float>(steps);
  } else {
    const auto pair = *reinterpret_cast<const std::uint8_t*>(record + place.int4_offset());
    const float steps = static_cast<float>(pair >> (4 * place.input_quarter) & 15);
    // Rounded twice, as the backends of the host do.
    const float above = __fmul_rn(bf16_at(scale_offset<kFormat>(feature)), steps);
    return __fadd_rn(bf16_at(minimum_offset(feature)), above);
  }
}

// Calls function.template operator()<format>() for the format, which isn't f32.
template <typename Function>
void with_record_format(WeightFormat format, const Function& function) {
  switch (format) {
    case WeightFormat::bf16:
      return function.template operator()<WeightFormat::bf16>();
    case WeightFormat::int8:
      return function.template operator()<WeightFormat::int8>();
    default:
      return function.template operator()<WeightFormat::int4>();
  }
}

}  // namespace sinkstream::kernels::cuda
