// Softmax attention, and the cache that it reads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cache_layout.h"
#include "kernels/quantization.h"
#include "kernels/reference/reference_backend.h"

namespace sinkstream::kernels {
namespace {

// A head that stands so many elements into an array.
class StoredHead {
 public:
  StoredHead(Address array, CacheType type, std::int64_t offset, std::int64_t head_dim)
      : array_(array), type_(type), offset_(offset), head_dim_(head_dim) {}

  double at(std::int64_t i) const {
    switch (type_) {
      case CacheType::f32:
        return begin<const float>()[i];
      case CacheType::bf16:
        return to_float(begin<const bfloat16>()[i]);
      case CacheType::int8:
        float step;
        std::memcpy(&step, begin<const std::int8_t>() + head_dim_, sizeof step);
        return static_cast<double>(step) * begin<const std::int8_t>()[i];
    }
    return 0;
  }

  void write(std::span<const float> head) const {
    switch (type_) {
      case CacheType::f32:
        std::ranges::copy(head, begin<float>());
        break;
      case CacheType::bf16:
        std::ranges::transform(head, begin<bfloat16>(), to_bfloat16);
        break;
      case CacheType::int8:
        write_int8(head);
        break;
    }
  }

 private:
  void write_int8(std::span<const float> head) const {
    float largest = 0;
    for (const float number : head)
      largest = std::isnan(number) ? number : std::max(largest, std::abs(number));
    const RoundingStep step = rounding_step(largest, kLargestInt8);
    std::ranges::transform(head, begin<std::int8_t>(), [&](float number) {
      return static_cast<std::int8_t>(step.factor == 0 ? 0 : std::nearbyint(number * step.factor));
    });
    std::memcpy(begin<std::int8_t>() + head_dim_, &step.scale, sizeof step.scale);
  }

  template <typename T>
  T* begin() const {
    return host_pointer<T>(array_) + offset_;
  }

  Address array_;
  CacheType type_;
  std::int64_t offset_;
  std::int64_t head_dim_;
};

// The i-th element of a head after rotation by the angles of its row.
float rotated(std::span<const float> head, std::span<const float> cosines, std::span<const float> sines,
              std::int64_t i) {
  const std::int64_t half = std::ssize(cosines);
  if (i >= 2 * half) return head[i];
  const double cosine = cosines[i % half];
  const double sine = sines[i % half];
  if (i < half) return static_cast<float>(head[i] * cosine - head[i + half] * sine);
  return static_cast<float>(head[i] * cosine + head[i - half] * sine);
}

// Attention of one query head; window_query, sink_query and out have head_dim elements.
void attend(const AttentionRow& row, int kv_head, const float* window_query, const float* sink_query,
            const CacheLayerView& cache, float scale, float alibi_slope, float* out) {
  std::vector<double> scores;
  std::vector<std::vector<double>> values;
  const auto take = [&](const float* query, const StoredHead& key, const StoredHead& value) {
    double score = 0;
    std::vector<double> head_value;
    for (int i = 0; i < cache.head_dim; ++i) {
      score += query[i] * key.at(i);
      head_value.push_back(value.at(i));
    }
    scores.push_back(score * scale);
    values.push_back(head_value);
  };
  const CachePlane plane = cache_plane(cache, row.slot, kv_head);
  for (std::int64_t p = 0; p < row.sinks_end; ++p) {
    const std::int64_t at = sink_offset(cache, p);
    take(sink_query, {plane.sink_keys, CacheType::f32, at, cache.head_dim},
         {plane.sink_values, CacheType::f32, at, cache.head_dim});
  }
  for (std::int64_t p = row.window_begin; p <= row.position; ++p) {
    const std::int64_t at = ring_offset(cache, p);
    take(window_query, {plane.ring_keys, cache.ring_type, at, cache.head_dim},
         {plane.ring_values, cache.ring_type, at, cache.head_dim});
  }

  // Within the cache, where everything kept stands in order, the query is the last.
  for (std::size_t t = 0; t < scores.size(); ++t) {
    scores[t] -= alibi_slope * static_cast<double>(scores.size() - 1 - t);
  }
  const double highest = *std::ranges::max_element(scores);
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - highest);
  for (int i = 0; i < cache.head_dim; ++i) {
    double weighted = 0;
    for (std::size_t t = 0; t < scores.size(); ++t) weighted += scores[t] / sum * values[t][i];
    out[i] = static_cast<float>(weighted);
  }
}

}  // namespace

void ReferenceBackend::do_rotate_and_store(ConstMatrix qkv, const RotaryAngles& angles,
                                           DeviceSpan<const AttentionRow> rows, const HeadShard& shard,
                                           const CacheLayerView& cache, Matrix window_queries,
                                           Matrix sink_queries) {
  const std::int64_t head_dim = cache.head_dim;
  for (std::int64_t r = 0; r < rows.size; ++r) {
    const auto true_cosines = host_matrix(angles.true_cosines).row(r);
    const auto true_sines = host_matrix(angles.true_sines).row(r);
    const auto cache_cosines = host_matrix(angles.cache_cosines).row(r);
    const auto cache_sines = host_matrix(angles.cache_sines).row(r);
    const auto head_of_row = [&](std::int64_t head) {
      return host_matrix(qkv).row(r).subspan(head * head_dim, head_dim);
    };
    for (int head = 0; head < shard.local_heads; ++head) {
      for (std::int64_t i = 0; i < head_dim; ++i) {
        const std::int64_t column = head * head_dim + i;
        host_matrix(window_queries).row(r)[column] = rotated(head_of_row(head), true_cosines, true_sines, i);
        host_matrix(sink_queries).row(r)[column] = rotated(head_of_row(head), cache_cosines, cache_sines, i);
      }
    }
    const AttentionRow& row = host_span(rows)[r];
    for (int head = 0; head < shard.local_kv_heads; ++head) {
      const CachePlane plane = cache_plane(cache, row.slot, head);
      std::vector<float> key;
      for (std::int64_t i = 0; i < head_dim; ++i) {
        key.push_back(rotated(head_of_row(shard.local_heads + head), true_cosines, true_sines, i));
      }
      const auto value = head_of_row(shard.local_heads + shard.local_kv_heads + head);
      const std::int64_t in_ring = ring_offset(cache, row.position);
      StoredHead(plane.ring_keys, cache.ring_type, in_ring, head_dim).write(key);
      StoredHead(plane.ring_values, cache.ring_type, in_ring, head_dim).write(value);
      if (row.position >= cache.sink_capacity) continue;
      const std::int64_t in_sinks = sink_offset(cache, row.position);
      StoredHead(plane.sink_keys, CacheType::f32, in_sinks, head_dim).write(key);
      StoredHead(plane.sink_values, CacheType::f32, in_sinks, head_dim).write(value);
    }
  }
}

void ReferenceBackend::do_attention(DeviceSpan<const AttentionRow> rows, ConstMatrix window_queries,
                                    ConstMatrix sink_queries, const CacheLayerView& cache,
                                    const HeadShard& shard, float scale, Vector alibi_slopes, Matrix out) {
  for (std::int64_t r = 0; r < rows.size; ++r) {
    for (int head = 0; head < shard.local_heads; ++head) {
      const std::int64_t column = static_cast<std::int64_t>(head) * cache.head_dim;
      attend(host_span(rows)[r], shard.local_kv_head(head), &host_matrix(window_queries).row(r)[column],
             &host_matrix(sink_queries).row(r)[column], cache, scale,
             alibi_slopes.empty() ? 0.0f : host_span(alibi_slopes)[head], &host_matrix(out).row(r)[column]);
    }
  }
}

}  // namespace sinkstream::kernels
