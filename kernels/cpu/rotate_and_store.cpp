// Rotates queries and keys by their positions, and writes keys and values into the cache.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cache_layout.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/work.h"
#include "kernels/quantization.h"

namespace sinkstream::kernels {
namespace {

// x, out [head_dim]; cosines, sines [half]
void rotate_head(std::span<const float> x, std::span<const float> cosines, std::span<const float> sines,
                 std::span<float> out) {
  const std::size_t half = cosines.size();
  for (std::size_t i = 0; i < half; ++i) {
    const float first = x[i];
    const float second = x[i + half];
    out[i] = first * cosines[i] - second * sines[i];
    out[i + half] = second * cosines[i] + first * sines[i];
  }
  std::copy(x.begin() + 2 * half, x.end(), out.begin() + 2 * half);
}

// The largest magnitude; infinity and NaN are larger than all numbers.
float largest_magnitude(std::span<const float> numbers) {
  std::uint32_t largest = 0;
  for (const float number : numbers) {
    largest = std::max(largest, std::bit_cast<std::uint32_t>(number) & 0x7fffffffu);
  }
  return std::bit_cast<float>(largest);
}

void copy_to_ring(std::span<const float> from, CacheType ring_type, Address ring, std::int64_t offset) {
  switch (ring_type) {
    case CacheType::f32:
      std::ranges::copy(from, host_pointer<float>(ring) + offset);
      break;
    case CacheType::bf16:
      std::ranges::transform(from, host_pointer<bfloat16>(ring) + offset, to_bfloat16);
      break;
    case CacheType::int8:
      const RoundingStep step = rounding_step(largest_magnitude(from), kLargestInt8);
      auto* const to = host_pointer<std::int8_t>(ring) + offset;
      std::ranges::transform(from, to, [&](float number) {
        return static_cast<std::int8_t>(step.factor == 0 ? 0 : std::lrint(number * step.factor));
      });
      std::memcpy(to + from.size(), &step.scale, sizeof step.scale);
      break;
  }
}

void store_head(const AttentionRow& row, std::int64_t kv_head, std::span<const float> key,
                std::span<const float> value, const CacheLayerView& cache) {
  const CachePlane plane = cache_plane(cache, row.slot, kv_head);
  const std::int64_t in_ring = ring_offset(cache, row.position);
  copy_to_ring(key, cache.ring_type, plane.ring_keys, in_ring);
  copy_to_ring(value, cache.ring_type, plane.ring_values, in_ring);
  if (row.position >= cache.sink_capacity) return;
  const std::int64_t in_sinks = sink_offset(cache, row.position);
  std::ranges::copy(key, host_pointer<float>(plane.sink_keys) + in_sinks);
  std::ranges::copy(value, host_pointer<float>(plane.sink_values) + in_sinks);
}

}  // namespace

void CpuBackend::do_rotate_and_store(ConstMatrix qkv, const RotaryAngles& angles,
                                     DeviceSpan<const AttentionRow> rows, const HeadShard& shard,
                                     const CacheLayerView& cache, Matrix window_queries,
                                     Matrix sink_queries) {
  const std::int64_t head_dim = cache.head_dim;
  const std::int64_t query_heads = shard.local_heads;
  const std::int64_t kv_heads = shard.local_kv_heads;
  const std::int64_t heads = query_heads + kv_heads;  // one part of the work each, in each row
  const auto head_at = [head_dim](auto matrix, std::int64_t row, std::int64_t head) {
    return host_matrix(matrix).row(row).subspan(head * head_dim, head_dim);
  };
  const std::int64_t grain = items_per_part(4 * head_dim);
  threads_.parallel_for(rows.size * heads, grain, [&](std::int64_t begin, std::int64_t end) {
    thread_local std::vector<float> key;
    key.resize(head_dim);
    for (std::int64_t part = begin; part < end; ++part) {
      const std::int64_t r = part / heads;
      const std::int64_t head = part % heads;
      const auto true_cosines = host_matrix(angles.true_cosines).row(r);
      const auto true_sines = host_matrix(angles.true_sines).row(r);
      const auto from = head_at(qkv, r, head);
      if (head < query_heads) {
        rotate_head(from, true_cosines, true_sines, head_at(window_queries, r, head));
        rotate_head(from, host_matrix(angles.cache_cosines).row(r), host_matrix(angles.cache_sines).row(r),
                    head_at(sink_queries, r, head));
      } else {
        rotate_head(from, true_cosines, true_sines, key);
        store_head(host_span(rows)[r], head - query_heads, key, head_at(qkv, r, head + kv_heads), cache);
      }
    }
  });
}

}  // namespace sinkstream::kernels
