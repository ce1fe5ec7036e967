// A layer's cache in a backend's memory, and sessions that are fed into it.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/round_up.h"
#include "kernels/cache_layout.h"
#include "tests/kernels/on_device.h"

namespace sinkstream::kernels {

struct CacheShape {
  CacheType ring_type = CacheType::f32;
  int num_slots = 1;
  int local_kv_heads = 1;
  std::int64_t sink_capacity = 0;
  std::int64_t ring_capacity = 1;
  int head_dim = 1;
};

// The types of ring that a backend takes.
inline std::vector<CacheType> ring_types(const BackendCase& backend) {
  std::vector<CacheType> types = {CacheType::f32, CacheType::bf16};
  if (!backend.is_cuda()) types.push_back(CacheType::int8);
  return types;
}

// Holds kUnwritten until it is written. Its arrays stand apart, so that each ends where its memory does, with
// room that is nobody's between the slots.
class DeviceCache {
 public:
  DeviceCache(Backend& backend, const CacheShape& shape)
      : shape_(shape),
        sink_keys_(backend, unwritten(CacheType::f32, shape.sink_capacity)),
        sink_values_(backend, unwritten(CacheType::f32, shape.sink_capacity)),
        ring_keys_(backend, unwritten(shape.ring_type, shape.ring_capacity)),
        ring_values_(backend, unwritten(shape.ring_type, shape.ring_capacity)) {}

  CacheLayerView view() const {
    return {.sink_keys = DeviceSpan<std::byte>(sink_keys_).data,
            .sink_values = DeviceSpan<std::byte>(sink_values_).data,
            .ring_keys = DeviceSpan<std::byte>(ring_keys_).data,
            .ring_values = DeviceSpan<std::byte>(ring_values_).data,
            .ring_type = shape_.ring_type,
            .num_slots = shape_.num_slots,
            .slot_stride_bytes = slot_stride_bytes(),
            .local_kv_heads = shape_.local_kv_heads,
            .sink_capacity = shape_.sink_capacity,
            .ring_capacity = shape_.ring_capacity,
            .head_dim = shape_.head_dim};
  }

  // [num_slots, local_kv_heads, capacity, head_dim], as float32.
  std::vector<float> sink_keys() const { return read(sink_keys_, CacheType::f32, shape_.sink_capacity); }
  std::vector<float> sink_values() const { return read(sink_values_, CacheType::f32, shape_.sink_capacity); }
  std::vector<float> ring_keys() const { return read(ring_keys_, shape_.ring_type, shape_.ring_capacity); }
  std::vector<float> ring_values() const {
    return read(ring_values_, shape_.ring_type, shape_.ring_capacity);
  }

 private:
  std::int64_t slot_stride_bytes() const {
    const std::int64_t places = std::max(shape_.sink_capacity, shape_.ring_capacity);
    const std::int64_t longest_head = (shape_.head_dim + 1) * std::int64_t{sizeof(float)};
    return round_up(shape_.local_kv_heads * places * longest_head, kCacheAlignment) + kCacheAlignment;
  }
  std::int64_t bytes_of_slot(CacheType type, std::int64_t capacity) const {
    return shape_.local_kv_heads * capacity * ring_head_bytes(type, shape_.head_dim);
  }

  // What each element holds that was not written; of a ring of int8, each of its bytes.
  static std::vector<std::byte> unwritten_element(CacheType type) {
    const auto bytes_of = [](auto value) {
      const auto bytes = std::bit_cast<std::array<std::byte, sizeof value>>(value);
      return std::vector(bytes.begin(), bytes.end());
    };
    switch (type) {
      case CacheType::f32:
        return bytes_of(kUnwritten);
      case CacheType::bf16:
        return bytes_of(to_bfloat16(kUnwritten));
      case CacheType::int8:
        return {std::byte{0x5a}};  // a step of four of them is huge
    }
    return {};
  }
  // Up to the end of the last slot's.
  std::vector<std::byte> unwritten(CacheType type, std::int64_t capacity) const {
    const std::vector<std::byte> element = unwritten_element(type);
    std::vector<std::byte> bytes;
    if (capacity == 0) return bytes;
    bytes.resize((shape_.num_slots - 1) * slot_stride_bytes() + bytes_of_slot(type, capacity));
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = element[i % element.size()];
    return bytes;
  }

  std::vector<float> read(const OnDevice<std::byte>& array, CacheType type, std::int64_t capacity) const {
    const std::vector<std::byte> bytes = array.read();
    const std::vector<std::byte> unwritten_bytes = unwritten(type, capacity);
    const std::int64_t head_bytes = ring_head_bytes(type, shape_.head_dim);
    std::vector<float> values;
    for (std::int64_t at = 0; at < std::ssize(bytes);) {
      if (at % slot_stride_bytes() < bytes_of_slot(type, capacity)) {
        const auto head = std::span(bytes).subspan(at, head_bytes);
        const bool is_written = !std::ranges::equal(head, std::span(unwritten_bytes).subspan(at, head_bytes));
        read_head(type, head, is_written, values);
        at += head_bytes;
      } else {
        EXPECT_EQ(bytes[at], unwritten_bytes[at]) << "written between the slots";
        ++at;
      }
    }
    return values;
  }
  void read_head(CacheType type, std::span<const std::byte> head, bool is_written,
                 std::vector<float>& values) const {
    for (int i = 0; i < shape_.head_dim; ++i) {
      if (type == CacheType::f32) {
        values.push_back(reinterpret_cast<const float*>(head.data())[i]);
      } else if (type == CacheType::bf16) {
        values.push_back(to_float(reinterpret_cast<const bfloat16*>(head.data())[i]));
      } else {
        float step;
        std::memcpy(&step, head.data() + shape_.head_dim, sizeof step);
        const auto whole = static_cast<std::int8_t>(head[i]);
        values.push_back(is_written ? static_cast<float>(whole) * step : kUnwritten);
      }
    }
  }

  CacheShape shape_;
  OnDevice<std::byte> sink_keys_;
  OnDevice<std::byte> sink_values_;
  OnDevice<std::byte> ring_keys_;
  OnDevice<std::byte> ring_values_;
};

// The row of a token in a session with `sinks` sink tokens and a window of `window`.
inline AttentionRow row_at(std::int32_t slot, std::int64_t position, std::int64_t sinks,
                           std::int64_t window) {
  const std::int64_t begin = std::max<std::int64_t>(0, position - window + 1);
  return {.slot = slot, .position = position, .window_begin = begin, .sinks_end = std::min(sinks, begin)};
}

// Angles by which nothing turns, or random ones.
struct HostAngles {
  HostAngles(std::int64_t rows, std::int64_t half)
      : true_cosines(rows, half),
        true_sines(rows, half),
        cache_cosines(rows, half),
        cache_sines(rows, half) {}
  HostAngles(Random& random, std::int64_t rows, std::int64_t half)
      : true_cosines(random.matrix(rows, half)),
        true_sines(random.matrix(rows, half)),
        cache_cosines(random.matrix(rows, half)),
        cache_sines(random.matrix(rows, half)) {}

  Tensor true_cosines, true_sines, cache_cosines, cache_sines;
};

struct Queries {
  Tensor window, sink;
};

// Rotates and stores some rows; returns the rotated queries.
inline Queries rotate_and_store_on(Backend& backend, const Tensor& qkv, const HostAngles& angles,
                                   const std::vector<AttentionRow>& rows, const HeadShard& shard,
                                   const CacheLayerView& cache) {
  const DeviceTensor input(backend, qkv);
  const DeviceTensor true_cosines(backend, angles.true_cosines), true_sines(backend, angles.true_sines);
  const DeviceTensor cache_cosines(backend, angles.cache_cosines), cache_sines(backend, angles.cache_sines);
  const OnDevice<AttentionRow> of_rows(backend, rows);
  const std::int64_t width = std::int64_t{shard.local_heads} * cache.head_dim;
  const DeviceTensor window(backend, qkv.rows, width), sink(backend, qkv.rows, width);
  backend.rotate_and_store(input, {true_cosines, true_sines, cache_cosines, cache_sines}, of_rows, shard,
                           cache, window, sink);
  return {window.read(), sink.read()};
}

// Stores keys and values [rows, local_kv_heads * head_dim] as they are.
inline void store_on(Backend& backend, const std::vector<AttentionRow>& rows, const Tensor& keys,
                     const Tensor& values, const CacheLayerView& cache) {
  const HeadShard shard{
      .local_heads = 1, .group_size = cache.local_kv_heads, .local_kv_heads = cache.local_kv_heads};
  Tensor qkv(keys.rows, cache.head_dim + 2 * keys.cols);
  for (std::int64_t r = 0; r < keys.rows; ++r) {
    std::ranges::copy(keys.row(r), qkv.row(r).subspan(cache.head_dim).begin());
    std::ranges::copy(values.row(r), qkv.row(r).subspan(cache.head_dim + keys.cols).begin());
  }
  rotate_and_store_on(backend, qkv, HostAngles(keys.rows, 0), rows, shard, cache);
}

}  // namespace sinkstream::kernels
