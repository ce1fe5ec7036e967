// Softmax attention over sinks and window.
#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "base/range.h"
#include "base/round_up.h"
#include "kernels/cache_layout.h"
#include "kernels/cpu/attention_task.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/work.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cpp"
#include <hwy/foreach_target.h>

// Highway's header asks to come after foreach_target.
#include <hwy/contrib/math/math-inl.h>

#include "kernels/cpu/dot-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sinkstream::kernels::HWY_NAMESPACE {

// scores[i] = scale * scores[i] - slope * distance. All that is kept stands in order, sinks first, and the
// query is the last: token i is n - 1 - i tokens away.
void add_distance_penalty(float* scores, std::int64_t n, float scale, float slope) {
  const Floats d;
  const FloatVector scales = hn::Set(d, scale);
  const FloatVector slopes = hn::Set(d, slope);
  FloatVector distance = hn::Sub(hn::Set(d, static_cast<float>(n - 1)), hn::Iota(d, 0.0f));
  const FloatVector step = hn::Set(d, static_cast<float>(kLanes));
  for (std::int64_t i = 0; i < n; i += kLanes) {  // the row is padded to whole vectors
    store(hn::NegMulAdd(slopes, distance, hn::Mul(scales, load(scores + i))), scores + i);
    distance = hn::Sub(distance, step);
  }
}

// Replaces scores [n] by exp(scale * (score - highest score)) and returns their sum. The row is padded to
// whole vectors; the padding becomes zero.
float exponentials(float* scores, std::int64_t n, float scale) {
  const Floats d;
  const float lowest = std::numeric_limits<float>::lowest();
  const std::int64_t padded = round_up(n, kLanes);
  std::fill(scores + n, scores + padded, lowest);

  FloatVector highest = hn::Set(d, lowest);
  for (std::int64_t i = 0; i < padded; i += kLanes) highest = hn::Max(highest, load(scores + i));
  highest = hn::MaxOfLanes(d, highest);

  FloatVector sum = hn::Zero(d);
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    const FloatVector exponent = hn::Mul(hn::Sub(load(scores + i), highest), hn::Set(d, scale));
    const FloatVector value = hn::Exp(d, exponent);
    store(value, scores + i);
    sum = hn::Add(sum, value);
  }
  return sum_of_lanes(sum);
}

// Numbers of tokens by what their heads are multiples of, in a ring of int8.   numbers [rows, stride]
template <typename T>
void multiply_by_steps(const VectorList<T>& heads, int head_dim, std::int64_t rows, float* numbers,
                       std::int64_t stride) {
  if constexpr (std::is_same_v<T, std::int8_t>) {
    for (std::int64_t token = 0; token < heads.count; ++token) {
      float step;
      std::memcpy(&step, heads.at(token) + head_dim, sizeof step);
      for (std::int64_t r = 0; r < rows; ++r) numbers[r * stride + token] *= step;
    }
  }
}

// out[h] += sum over tokens of weights[h][token] * value(token), for kVectors vectors of each of kHeads
// heads.
template <int kHeads, int kVectors, class Access, typename V>
HWY_INLINE void add_weighted_tile(Access access, const float* weights, std::int64_t weights_stride,
                                  const VectorList<V>& values, float* out, std::int64_t out_stride) {
  FloatVector sums[kHeads][kVectors];
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVectors; ++v) sums[h][v] = access.load(out + h * out_stride + v * kLanes);
  }
  for (std::int64_t token = 0; token < values.count; ++token) {
    FloatVector value[kVectors];
    for (int v = 0; v < kVectors; ++v) value[v] = access.load(values.at(token) + v * kLanes);
    for (int h = 0; h < kHeads; ++h) {
      const FloatVector weight = hn::Set(Floats(), weights[h * weights_stride + token]);
      for (int v = 0; v < kVectors; ++v) sums[h][v] = hn::MulAdd(weight, value[v], sums[h][v]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVectors; ++v) access.store(sums[h][v], out + h * out_stride + v * kLanes);
  }
}

// The same for whole heads; a head is one vector of `values`.
template <int kHeads, typename V>
void add_weighted_heads(const float* weights, std::int64_t weights_stride, const VectorList<V>& values,
                        std::int64_t head_dim, float* out) {
  constexpr int kVectors = 4;
  std::int64_t i = 0;
  const auto values_at = [&](std::int64_t dimension) {
    return VectorList<V>{values.data + dimension, values.count, values.stride};
  };
  for (; i + kVectors * kLanes <= head_dim; i += kVectors * kLanes) {
    add_weighted_tile<kHeads, kVectors>(Whole(), weights, weights_stride, values_at(i), out + i, head_dim);
  }
  for (; i + kLanes <= head_dim; i += kLanes) {
    add_weighted_tile<kHeads, 1>(Whole(), weights, weights_stride, values_at(i), out + i, head_dim);
  }
  if (i < head_dim) {
    add_weighted_tile<kHeads, 1>(Partial{head_dim - i}, weights, weights_stride, values_at(i), out + i,
                                 head_dim);
  }
}

// Heads that share what is loaded of the values; with four vectors of each, what the registers can hold.
inline constexpr int kWeighedHeads = kLanes >= 16 ? 4 : 2;

template <int kHeads, typename V>
void add_weighted(const float* weights, std::int64_t weights_stride, std::int64_t heads,
                  const VectorList<V>& values, std::int64_t head_dim, float* out) {
  std::int64_t h = 0;
  for (; h + kHeads <= heads; h += kHeads) {
    add_weighted_heads<kHeads>(weights + h * weights_stride, weights_stride, values, head_dim,
                               out + h * head_dim);
  }
  if constexpr (kHeads > 1) {
    if (h < heads) {
      add_weighted<kHeads / 2>(weights + h * weights_stride, weights_stride, heads - h, values, head_dim,
                               out + h * head_dim);
    }
  }
}

// A task's parts of the cache, in ascending position. T is the ring's element.
template <typename T>
struct CachedTokens {
  VectorList<float> sinks;
  std::array<VectorList<T>, 2> window;
};

// Keys or values.
template <typename T>
CachedTokens<T> cached_tokens(const AttentionTask& task, const CacheLayerView& cache, Address sinks,
                              Address ring) {
  const auto [before_wrap, after_wrap] =
      ring_pieces(task.row.window_begin, task.window_tokens(), cache.ring_capacity);
  const auto piece = [&](const RingPiece& places) {
    return VectorList<T>{host_pointer<const T>(ring) + ring_offset(cache, places.first), places.count,
                         ring_stride(cache.ring_type, cache.head_dim)};
  };
  return {{host_pointer<const float>(sinks) + sink_offset(cache, 0), task.row.sinks_end, cache.head_dim},
          {piece(before_wrap), piece(after_wrap)}};
}

// scores [heads, tokens rounded up to whole vectors]
template <typename T>
void score(const AttentionTask& task, const CachedTokens<T>& keys, int head_dim, float* scores) {
  const std::int64_t stride = round_up(task.tokens(), kLanes);
  dot_products({task.sink_queries, task.heads, head_dim}, keys.sinks, head_dim, scores, stride);
  scores += keys.sinks.count;
  for (const VectorList<T>& piece : keys.window) {
    dot_products({task.window_queries, task.heads, head_dim}, piece, head_dim, scores, stride);
    multiply_by_steps(piece, head_dim, task.heads, scores, stride);
    scores += piece.count;
  }
}

// out [heads, head_dim] = sum of weights * values; the weights are used up
template <typename T>
void weigh(const AttentionTask& task, float* weights, const CachedTokens<T>& values, int head_dim) {
  const std::int64_t stride = round_up(task.tokens(), kLanes);
  std::fill_n(task.out, task.heads * head_dim, 0.0f);
  add_weighted<kWeighedHeads>(weights, stride, task.heads, values.sinks, head_dim, task.out);
  weights += values.sinks.count;
  for (const VectorList<T>& piece : values.window) {
    multiply_by_steps(piece, head_dim, task.heads, weights, stride);
    add_weighted<kWeighedHeads>(weights, stride, task.heads, piece, head_dim, task.out);
    weights += piece.count;
  }
}

template <typename T>
void attend_to(const AttentionTask& task, const CacheLayerView& cache, std::vector<float>& scratch) {
  const std::int64_t stride = round_up(task.tokens(), kLanes);
  const std::int64_t needed = task.heads * (stride + 1);
  if (std::ssize(scratch) < needed) scratch.resize(needed);
  float* weights = scratch.data();              // [heads, stride]
  float* sums = weights + task.heads * stride;  // [heads]

  const int head_dim = cache.head_dim;
  score(task, cached_tokens<T>(task, cache, task.plane.sink_keys, task.plane.ring_keys), head_dim, weights);
  for (std::int64_t h = 0; h < task.heads; ++h) {
    float* const scores = weights + h * stride;
    if (task.alibi_slopes == nullptr) {
      sums[h] = exponentials(scores, task.tokens(), task.scale);
    } else {
      add_distance_penalty(scores, task.tokens(), task.scale, task.alibi_slopes[h]);
      sums[h] = exponentials(scores, task.tokens(), 1.0f);
    }
  }
  weigh(task, weights, cached_tokens<T>(task, cache, task.plane.sink_values, task.plane.ring_values),
        head_dim);
  for (std::int64_t h = 0; h < task.heads; ++h) {
    for (int i = 0; i < head_dim; ++i) task.out[h * head_dim + i] /= sums[h];
  }
}

void attend(const AttentionTask& task, const CacheLayerView& cache, std::vector<float>& scratch) {
  switch (cache.ring_type) {
    case CacheType::f32:
      return attend_to<float>(task, cache, scratch);
    case CacheType::bf16:
      return attend_to<bfloat16>(task, cache, scratch);
    case CacheType::int8:
      return attend_to<std::int8_t>(task, cache, scratch);
  }
}

}  // namespace sinkstream::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sinkstream::kernels {

HWY_EXPORT(attend);

namespace {

// The query heads, counted from the rank's first, that read a KV head. Groups at the shard's ends may be cut.
Range heads_of_kv_head(const HeadShard& shard, std::int64_t local_kv_head) {
  const std::int64_t group_begin =
      (shard.first_kv_head + local_kv_head) * shard.group_size - shard.first_head;
  const std::int64_t heads = shard.local_heads;
  return {std::clamp<std::int64_t>(group_begin, 0, heads),
          std::clamp<std::int64_t>(group_begin + shard.group_size, 0, heads)};
}

}  // namespace

void CpuBackend::do_attention(DeviceSpan<const AttentionRow> rows, ConstMatrix window_queries,
                              ConstMatrix sink_queries, const CacheLayerView& cache, const HeadShard& shard,
                              float scale, Vector alibi_slopes, Matrix out) {
  const std::int64_t kv_heads = cache.local_kv_heads;
  threads_.parallel_for(rows.size * kv_heads, 1, [&](std::int64_t begin, std::int64_t end) {
    thread_local std::vector<float> scratch;  // grows to the longest row
    for (std::int64_t part = begin; part < end; ++part) {
      const std::int64_t r = part / kv_heads;
      const std::int64_t kv_head = part % kv_heads;
      const Range heads = heads_of_kv_head(shard, kv_head);
      const std::int64_t column = heads.begin * cache.head_dim;
      const AttentionRow& row = host_span(rows)[r];
      const AttentionTask task{
          .row = row,
          .plane = cache_plane(cache, row.slot, kv_head),
          .heads = heads.end - heads.begin,
          .window_queries = host_matrix(window_queries).row(r).data() + column,
          .sink_queries = host_matrix(sink_queries).row(r).data() + column,
          .out = host_matrix(out).row(r).data() + column,
          .scale = scale,
          .alibi_slopes =
              alibi_slopes.empty() ? nullptr : host_pointer<const float>(alibi_slopes.data) + heads.begin};
      HWY_DYNAMIC_DISPATCH(attend)(task, cache, scratch);
    }
  });
}

}  // namespace sinkstream::kernels
#endif
