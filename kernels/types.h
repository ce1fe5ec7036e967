// Element types, and what operations are told beside matrices. Knows no model, no MPI, no files.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/device_memory.h"

namespace sinkstream::kernels {

enum class DType : std::uint8_t { f32, bf16, f16 };

constexpr std::size_t size_of(DType dtype) {
  return dtype == DType::f32 ? 4 : 2;
}

constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::f16:
      return "f16";
  }
  return "?";
}

// The upper half of an IEEE float32; rounding is to nearest, ties to even.
struct bfloat16 {
  std::uint16_t bits = 0;
};

constexpr float to_float(bfloat16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

constexpr bfloat16 to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return {static_cast<std::uint16_t>((bits >> 16) | 0x40)};  // quiet NaN
  return {static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

// IEEE binary16, only ever read (from checkpoints).
struct float16 {
  std::uint16_t bits = 0;
};

constexpr float to_float(float16 value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000) << 16;
  const std::uint32_t exponent = (value.bits >> 10) & 0x1f;
  const std::uint32_t mantissa = value.bits & 0x3ff;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // zero or subnormal
  return sign ? -magnitude : magnitude;
}

// Which query heads a rank holds. A rank's contiguous heads may cut a KV group, so kernels go from the global
// head number: local head i is head first_head + i and reads KV head (first_head + i) / group_size.
struct HeadShard {
  int first_head = 0;
  int local_heads = 0;
  int group_size = 1;  // query heads per KV head, num_heads / num_kv_heads
  int first_kv_head = 0;
  int local_kv_heads = 0;

  constexpr int local_kv_head(int local_head) const {
    return (first_head + local_head) / group_size - first_kv_head;
  }

  bool operator==(const HeadShard&) const = default;
};

// How a ring holds the heads of keys and values: as numbers, or as int8, with the step that they are
// multiples of behind them, a float32.
enum class CacheType : std::uint8_t { f32, bf16, int8 };

constexpr std::string_view name_of(CacheType type) {
  switch (type) {
    case CacheType::f32:
      return "f32";
    case CacheType::bf16:
      return "bf16";
    case CacheType::int8:
      return "int8";
  }
  return "?";
}

// No value: there is no type of this name.
constexpr std::optional<CacheType> parse_cache_type(std::string_view name) {
  for (const CacheType type : {CacheType::f32, CacheType::bf16, CacheType::int8}) {
    if (name == name_of(type)) return type;
  }
  return std::nullopt;
}

// One layer's cache of all slots: the arrays of slot 0; those of slot s stand s * slot_stride_bytes further
// on. Keys are stored rotated at their true position.
//   sinks: float32      [local_kv_heads, sink_capacity, head_dim]   position p at p
//   ring:  ring_type    [local_kv_heads, ring_capacity, head_dim]   position p at p mod ring_capacity
// Positions below sink_capacity are stored in both.
struct CacheLayerView {
  Address sink_keys = Address::none;
  Address sink_values = Address::none;
  Address ring_keys = Address::none;
  Address ring_values = Address::none;
  CacheType ring_type = CacheType::f32;
  int num_slots = 0;
  std::int64_t slot_stride_bytes = 0;  // a multiple of kCacheAlignment (cache_layout.h)
  int local_kv_heads = 0;
  std::int64_t sink_capacity = 0;
  std::int64_t ring_capacity = 0;
  int head_dim = 0;

  bool operator==(const CacheLayerView&) const = default;
};

// Where one row's token stands and what it attends to: sinks [0, sinks_end) with the query rotated at its
// position within the cache, then positions [window_begin, position] with the query rotated at `position`.
// sinks_end <= window_begin, so nothing is attended twice.
struct AttentionRow {
  std::int32_t slot = 0;
  std::int64_t position = 0;
  std::int64_t window_begin = 0;
  std::int64_t sinks_end = 0;
};

enum class NormKind : std::uint8_t { rms, layer };

// Root mean square norm (Zhang & Sennrich 2019): x / sqrt(mean(x^2) + epsilon) * weight.
// Layer norm (Ba et al. 2016): (x - mean(x)) / sqrt(variance(x) + epsilon) * weight (+ bias).
struct Norm {
  NormKind kind = NormKind::rms;
  float epsilon = 0;
  Vector weight;  // [width]
  Vector bias;    // [width] or empty; of layer norms only

  bool operator==(const Norm&) const = default;
};

// Of each row's two positions.   [rows, half]
struct RotaryAngles {
  Matrix true_cosines, true_sines;    // of the true position
  Matrix cache_cosines, cache_sines;  // of the position within the cache

  bool operator==(const RotaryAngles&) const = default;
};

}  // namespace sinkstream::kernels
