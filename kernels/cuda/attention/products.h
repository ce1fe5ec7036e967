// Matrix products of attention on tensor cores, as exact as in float32. A float is the sum of three bf16
// numbers, its parts; a product takes the products of parts that matter, from the smallest to the largest.
// Elements of a bf16 ring are a part as they are.
//
// A warp multiplies kColumns queries (of any heads and rows, see below) with keys, and their probabilities
// with values, in mma_bf16's terms: g = lane / 4, t = lane % 4. Each result is summed in an order that
// depends on the head size and the element alone, whoever loads the operands, wherever from.
#pragma once

#include <type_traits>

#include "kernels/cuda/ptx.h"
#include "kernels/cuda/warp.h"
#include "kernels/types.h"

namespace sinkstream::kernels::cuda {

inline constexpr int kColumns = 16;  // queries in a warp's products
inline constexpr int kParts = 3;     // of a float
template <typename Element>
inline constexpr int kPartsOf = std::is_same_v<Element, float> ? kParts : 1;

inline constexpr int kChunk = 16;  // dimensions, or keys, that one mma_bf16 sums over

// Two floats' parts, side by side.
__device__ inline void split(float low, float high, std::uint32_t (&parts)[kParts]) {
#pragma unroll
  for (int i = 0; i < kParts; ++i) {
    parts[i] = pack_bf16(low, high);
    low = __fsub_rn(low, low_bf16(parts[i]));
    high = __fsub_rn(high, high_bf16(parts[i]));
  }
}

// The left operand of a product: a lane's share of [kColumns, kChunk].
struct LeftOperand {
  std::uint32_t parts[kParts][4];
};

// The right one of [kChunk, 8].
template <typename Element>
struct RightOperand {
  std::uint32_t parts[kPartsOf<Element>][2];
};

template <typename Element>
__device__ inline void multiply(float (&sums)[4], const LeftOperand& left,
                                const RightOperand<Element>& right) {
#pragma unroll
  for (int order = kParts - 1; order >= 0; --order) {
#pragma unroll
    for (int i = order; i >= 0; --i) {
      if (order - i < kPartsOf<Element>) mma_bf16(sums, left.parts[i], right.parts[order - i]);
    }
  }
}

// Left operands lie in shared memory in parts, a lane's four registers side by side.
inline constexpr int kOperandVectors = kParts * kWarpSize;  // uint4

__device__ inline void store_operand(const LeftOperand& operand, uint4* operands, int lane) {
#pragma unroll
  for (int i = 0; i < kParts; ++i) {
    const std::uint32_t(&part)[4] = operand.parts[i];
    operands[i * kWarpSize + lane] = make_uint4(part[0], part[1], part[2], part[3]);
  }
}

__device__ inline LeftOperand load_operand(const uint4* operands) {
  LeftOperand operand;
#pragma unroll
  for (int i = 0; i < kParts; ++i) {
    const uint4 part = operands[i * kWarpSize + lane_id()];
    operand.parts[i][0] = part.x;
    operand.parts[i][1] = part.y;
    operand.parts[i][2] = part.z;
    operand.parts[i][3] = part.w;
  }
  return operand;
}

// How a lane takes its share of keys: four lanes read 64 neighbouring bytes of a key, each 16, and what they
// read is a chunk of floats, or two of bf16 (one at the end, where 32 bytes are left, of which each reads 8).
// So a chunk's dimensions come in an order of their own, the same for queries: lane t has four of them, from
// first_dimension() on, which stand at places 2t, 2t+1, 2t+8, 2t+9 of the product.
inline constexpr int kKeyLoadBytes = 64;

template <typename Element, int kHeadDim>
struct KeyLoads {
  static_assert(kHeadDim % kChunk == 0);
  static constexpr int kRowBytes = kHeadDim * static_cast<int>(sizeof(Element));
  static constexpr int kCount = ceil_divide(kRowBytes, kKeyLoadBytes);
  static constexpr int kChunksPerLoad = kKeyLoadBytes / (kChunk * static_cast<int>(sizeof(Element)));
  static constexpr int kChunks = kHeadDim / kChunk;

  static constexpr int chunks(int load) { return min(kChunksPerLoad, kChunks - load * kChunksPerLoad); }
  static constexpr bool is_short(int load) { return chunks(load) < kChunksPerLoad; }

  static constexpr int first_dimension(int chunk, int t) {
    const int load = chunk / kChunksPerLoad;
    return load * kChunksPerLoad * kChunk + 4 * chunks(load) * t + 4 * (chunk % kChunksPerLoad);
  }

  static constexpr int min(int a, int b) { return a < b ? a : b; }
};

// kOnce: from device memory, to be read by no other warp.
template <typename Element, int kHeadDim, bool kOnce>
__device__ inline uint4 load_key(const std::byte* key, int load) {
  using Loads = KeyLoads<Element, kHeadDim>;
  const std::byte* const from = key + load * kKeyLoadBytes;
  const int t = lane_id() % 4;
  if (Loads::is_short(load)) {
    const uint2 half = reinterpret_cast<const uint2*>(from)[t];
    return make_uint4(half.x, half.y, 0, 0);
  }
  const uint4* const whole = reinterpret_cast<const uint4*>(from) + t;
  if constexpr (kOnce) return load_streaming(whole);
  return *whole;
}

// The same into shared memory, `to` [lane]; without waiting.
template <typename Element, int kHeadDim>
__device__ inline void copy_key(uint4* to, const std::byte* key, int load, bool wanted) {
  const std::byte* const from = key + load * kKeyLoadBytes;
  const int t = lane_id() % 4;
  if (KeyLoads<Element, kHeadDim>::is_short(load)) {
    copy_async_8(to, from + t * 8, wanted);
  } else {
    copy_async_16(to, from + t * 16, wanted);
  }
}

// One of the chunks that a lane has read of a key.
template <typename Element>
__device__ inline RightOperand<Element> key_operand(const uint4& read, int chunk_of_load) {
  RightOperand<Element> operand;
  if constexpr (std::is_same_v<Element, float>) {
    std::uint32_t first[kParts], last[kParts];
    split(__uint_as_float(read.x), __uint_as_float(read.y), first);
    split(__uint_as_float(read.z), __uint_as_float(read.w), last);
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      operand.parts[i][0] = first[i];
      operand.parts[i][1] = last[i];
    }
  } else {
    operand.parts[0][0] = chunk_of_load == 0 ? read.x : read.z;
    operand.parts[0][1] = chunk_of_load == 0 ? read.y : read.w;
  }
  return operand;
}

// The parts of each register's floats.
__device__ inline LeftOperand left_operand(const std::uint32_t (&registers)[4][kParts]) {
  LeftOperand operand;
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
#pragma unroll
    for (int i = 0; i < 4; ++i) operand.parts[part][i] = registers[i][part];
  }
  return operand;
}

// A lane's share of a chunk of queries: its four dimensions of columns g and g + 8.
__device__ inline LeftOperand query_operand(const float4& low, const float4& high) {
  std::uint32_t registers[4][kParts];
  split(low.x, low.y, registers[0]);
  split(high.x, high.y, registers[1]);
  split(low.z, low.w, registers[2]);
  split(high.z, high.w, registers[3]);
  return left_operand(registers);
}

// Scores of kEights times eight keys: scores[n][2h + e] is that of column g + 8h and key 8n + 2t + e.
// `read(n, load)` is what this lane has read of key 8n + g.
template <typename Element, int kHeadDim, int kEights, typename Read>
__device__ inline void multiply_keys(const uint4* queries, const Read& read, float (&scores)[kEights][4]) {
  using Loads = KeyLoads<Element, kHeadDim>;
#pragma unroll
  for (int load = 0; load < Loads::kCount; ++load) {
    LeftOperand left[Loads::kChunksPerLoad];
#pragma unroll
    for (int c = 0; c < Loads::chunks(load); ++c) {
      left[c] = load_operand(queries + (load * Loads::kChunksPerLoad + c) * kOperandVectors);
    }
#pragma unroll
    for (int n = 0; n < kEights; ++n) {
      const uint4 key = read(n, load);
#pragma unroll
      for (int c = 0; c < Loads::chunks(load); ++c)
        multiply(scores[n], left[c], key_operand<Element>(key, c));
    }
  }
}

// Right operands of 16 values in shared memory, whose rows are `stride` bytes apart: of dimensions [0, 8) and
// [8, 16) from `values` on.
template <typename Element>
__device__ inline void load_values(const std::byte* values, int stride,
                                   RightOperand<Element> (&operands)[2]) {
  const int lane = lane_id();
  if constexpr (std::is_same_v<Element, float>) {
    const int g = lane / 4;
    const int t = lane % 4;
    const auto value = [&](int key, int dimension) {
      return reinterpret_cast<const float*>(values + key * stride)[dimension];
    };
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int key = 8 * half + 2 * t;
        std::uint32_t parts[kParts];
        split(value(key, 8 * j + g), value(key + 1, 8 * j + g), parts);
#pragma unroll
        for (int i = 0; i < kParts; ++i) operands[j].parts[i][half] = parts[i];
      }
    }
  } else {
    std::uint32_t loaded[4];
    load_transposed(loaded, values + lane % 16 * stride + lane / 16 * 16);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      operands[j].parts[0][0] = loaded[2 * j];
      operands[j].parts[0][1] = loaded[2 * j + 1];
    }
  }
}

}  // namespace sinkstream::kernels::cuda
