// What the kernels of matmul share: the definition of a result, which is the same in all of them, so that a
// row's bits don't depend on which of them computes it.
//
// Weights in f32: see matmul_f32.cu. Else x is rounded to bf16, the groups of 32 inputs are cut into chunks,
// and
//   out = ((0 + chunk 0) + chunk 1) + ... + bias
// Within a chunk one float32 sum takes one group after the other: in bf16 two steps of mma_bf16, in int8 and
// int4
//   sum = fma(scale, two steps of mma_bf16 from zero, sum)
//   sum = fma(minimum, two steps of mma_bf16 of ones from zero, sum)       (int4)
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/warp.h"
#include "kernels/cuda/weights/packed_weight.h"

namespace sinkstream::kernels::cuda {

// ---- Chunks of the inputs
inline constexpr int kMostChunks = 8;
inline constexpr int kLeastGroupsOfChunk = 16;

// A power of two.
constexpr int chunks_of(int groups) {
  int chunks = kMostChunks;
  while (chunks > 1 && groups < chunks * kLeastGroupsOfChunk) chunks /= 2;
  return chunks;
}

// Where a chunk begins: at an even group, so that kernels may take two at a time.
constexpr int chunk_begin(int groups, int chunks, int chunk) {
  const int begin = (groups + 1) / 2 * chunk / chunks * 2;
  return begin < groups ? begin : groups;
}

// ---- A call
inline constexpr int kTileTokens = 8;

struct MatmulTask {
  const float* x;  // [rows, in_features]
  const std::byte* weight;
  const float* bias;  // or null
  float* out;         // [rows, out_features]
  std::int64_t rows;
  std::int64_t in_features;
  std::int64_t columns_before;
  std::int64_t out_features;
  int groups;
  int chunks;
};

// ---- Arithmetic
// Two sets of two bf16 integers, from bytes 0 and 2 and from bytes 1 and 3. bf16 has 128 + n for n below 128
// as 0x4300 + n, and 256 as 0x4380, so a byte is (128 + its lower bits) - (128, or 256 if it is negative).
__device__ inline void int8_to_bf16(std::uint32_t bytes, std::uint32_t& even, std::uint32_t& odd) {
  constexpr std::uint32_t k128 = 0x43004300u;
  const std::uint32_t shifted = bytes >> 8;
  even = subtract_bf16(and_or(bytes, 0x007f007fu, k128), and_or(bytes, 0x00800080u, k128));
  odd = subtract_bf16(and_or(shifted, 0x007f007fu, k128), and_or(shifted, 0x00800080u, k128));
}

// The nibbles at bits 0 and 16.
__device__ inline std::uint32_t int4_to_bf16(std::uint32_t nibbles) {
  return subtract_bf16(and_or(nibbles, 0x000f000fu, 0x43004300u), 0x43004300u);
}

// A record's values as operands a of two steps.
template <WeightFormat kFormat>
__device__ inline void load_operands(const std::byte* record, int lane, std::uint32_t (&a)[2][4]) {
  if constexpr (kFormat == WeightFormat::bf16) {
    const auto* const from = reinterpret_cast<const uint4*>(record) + lane;
    for (int half = 0; half < 2; ++half) {
      const uint4 pairs = from[half * kWarpSize];
      a[half][0] = pairs.x;
      a[half][1] = pairs.y;
      a[half][2] = pairs.z;
      a[half][3] = pairs.w;
    }
  } else if constexpr (kFormat == WeightFormat::int8) {
    const uint4 bytes = reinterpret_cast<const uint4*>(record)[lane];
    int8_to_bf16(bytes.x, a[0][0], a[0][2]);
    int8_to_bf16(bytes.y, a[0][1], a[0][3]);
    int8_to_bf16(bytes.z, a[1][0], a[1][2]);
    int8_to_bf16(bytes.w, a[1][1], a[1][3]);
  } else {
    const uint2 nibbles = reinterpret_cast<const uint2*>(record)[lane];
    const std::uint32_t halves[2] = {nibbles.x, nibbles.y};
    for (int half = 0; half < 2; ++half) {
      a[half][0] = int4_to_bf16(halves[half]);
      a[half][2] = int4_to_bf16(halves[half] >> 4);
      a[half][1] = int4_to_bf16(halves[half] >> 8);
      a[half][3] = int4_to_bf16(halves[half] >> 12);
    }
  }
}

// Two steps: d += a * x.
__device__ inline void multiply_group(float (&d)[4], const std::uint32_t (&a)[2][4],
                                      const std::uint32_t (&x)[4]) {
  const std::uint32_t first[2] = {x[0], x[1]}, second[2] = {x[2], x[3]};
  mma_bf16(d, a[0], first);
  mma_bf16(d, a[1], second);
}

// Of tokens 2t and 2t+1, for t = lane % 4: the sums of a group's inputs.
__device__ inline void sum_group(const std::uint32_t (&x)[4], float (&sums)[2]) {
  constexpr std::uint32_t kOnes = 0x3f803f80u;
  const std::uint32_t ones[2][4] = {{kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes, kOnes, kOnes}};
  float d[4] = {0, 0, 0, 0};
  multiply_group(d, ones, x);
  sums[0] = d[0];
  sums[1] = d[1];
}

// sums += the record's values * a group of x, for several tiles of tokens. `x_sums` is read for int4 only.
template <WeightFormat kFormat, int kTokenTiles>
__device__ inline void multiply_record(const std::byte* record, int lane,
                                       const std::uint32_t (&x)[kTokenTiles][4],
                                       const float (&x_sums)[kTokenTiles][2], float (&sums)[kTokenTiles][4]) {
  std::uint32_t a[2][4];
  load_operands<kFormat>(record, lane, a);
  if constexpr (kFormat == WeightFormat::bf16) {
    for (int n = 0; n < kTokenTiles; ++n) multiply_group(sums[n], a, x[n]);
  } else {
    // Of features g and g + 8.
    const auto* const steps =
        reinterpret_cast<const std::uint32_t*>(record + scale_offset<kFormat>(lane / 4));
    const std::uint32_t scales = steps[0];
    const std::uint32_t minimums = kFormat == WeightFormat::int4 ? steps[1] : 0;
    for (int n = 0; n < kTokenTiles; ++n) {
      float d[4] = {0, 0, 0, 0};
      multiply_group(d, a, x[n]);
      for (int i = 0; i < 4; ++i) {
        sums[n][i] = fmaf(i < 2 ? low_bf16(scales) : high_bf16(scales), d[i], sums[n][i]);
        if constexpr (kFormat == WeightFormat::int4) {
          sums[n][i] = fmaf(i < 2 ? low_bf16(minimums) : high_bf16(minimums), x_sums[n][i % 2], sums[n][i]);
        }
      }
    }
  }
}

// ---- The kernels
void matmul_f32(const Device& device, const MatmulTask& task);
// For 1 to kTileTokens rows, if their x fits into shared memory.
bool fits_decode(WeightFormat format, const MatmulTask& task);
void matmul_decode(const Device& device, WeightFormat format, const MatmulTask& task);
// For any number of rows.
void matmul_prefill(const Device& device, WeightFormat format, const MatmulTask& task);

}  // namespace sinkstream::kernels::cuda
