#include "kernels/cpu/reference.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace sinkstream::kernels::reference {
namespace {

double element(const void* data, DType dtype, std::int64_t index) {
  if (dtype == DType::f32) return static_cast<const float*>(data)[index];
  return to_float(static_cast<const bfloat16*>(data)[index]);
}

void set_element(void* data, DType dtype, std::int64_t index, float value) {
  if (dtype == DType::f32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<bfloat16*>(data)[index] = to_bfloat16(value);
  }
}

std::int64_t sink_index(const CacheLayerView& cache, int slot, int kv_head, std::int64_t position, int i) {
  return ((static_cast<std::int64_t>(slot) * cache.local_kv_heads + kv_head) * cache.sink_capacity +
          position) *
             cache.head_dim +
         i;
}

std::int64_t ring_index(const CacheLayerView& cache, int slot, int kv_head, std::int64_t position, int i) {
  return ((static_cast<std::int64_t>(slot) * cache.local_kv_heads + kv_head) * cache.ring_capacity +
          position % cache.ring_capacity) *
             cache.head_dim +
         i;
}

// Attention of one query head; window_query, sink_query and out have head_dim elements.
void attend(const AttentionRow& row, int kv_head, const float* window_query, const float* sink_query,
            const CacheLayerView& cache, float scale, float alibi_slope, float* out) {
  std::vector<double> scores;
  std::vector<std::vector<double>> values;
  const auto take = [&](const float* query, const auto& key, const auto& value) {
    double score = 0;
    std::vector<double> head_value;
    for (int i = 0; i < cache.head_dim; ++i) {
      score += query[i] * key(i);
      head_value.push_back(value(i));
    }
    scores.push_back(score * scale);
    values.push_back(head_value);
  };
  for (std::int64_t p = 0; p < row.sinks_end; ++p) {
    const auto at = [&](int i) { return sink_index(cache, row.slot, kv_head, p, i); };
    take(
        sink_query, [&](int i) { return static_cast<double>(cache.sink_keys[at(i)]); },
        [&](int i) { return static_cast<double>(cache.sink_values[at(i)]); });
  }
  for (std::int64_t p = row.window_begin; p <= row.position; ++p) {
    const auto at = [&](int i) { return ring_index(cache, row.slot, kv_head, p, i); };
    take(
        window_query, [&](int i) { return element(cache.ring_keys, cache.ring_dtype, at(i)); },
        [&](int i) { return element(cache.ring_values, cache.ring_dtype, at(i)); });
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

void embed(std::span<const std::int32_t> tokens, const WeightView& table, std::int64_t first_token,
           Matrix out) {
  for (std::int64_t r = 0; r < out.rows; ++r) {
    const std::int64_t row = tokens[r] - first_token;
    const bool ours = row >= 0 && row < table.out_features;
    for (std::int64_t i = 0; i < out.cols; ++i) {
      out.row(r)[i] = ours ? static_cast<float>(element(table.data, table.dtype, row * out.cols + i)) : 0.0f;
    }
  }
}

void rms_norm(ConstMatrix x, std::span<const float> weight, float epsilon, Matrix out) {
  for (std::int64_t r = 0; r < x.rows; ++r) {
    double squares = 0;
    for (const double value : x.row(r)) squares += value * value;
    const double root = std::sqrt(squares / static_cast<double>(x.cols) + epsilon);
    for (std::int64_t i = 0; i < x.cols; ++i)
      out.row(r)[i] = static_cast<float>(x.row(r)[i] / root * weight[i]);
  }
}

void layer_norm(ConstMatrix x, std::span<const float> weight, std::span<const float> bias, float epsilon,
                Matrix out) {
  for (std::int64_t r = 0; r < x.rows; ++r) {
    double sum = 0, squares = 0;
    for (const double value : x.row(r)) sum += value;
    const double mean = sum / static_cast<double>(x.cols);
    for (const double value : x.row(r)) squares += (value - mean) * (value - mean);
    const double deviation = std::sqrt(squares / static_cast<double>(x.cols) + epsilon);
    for (std::int64_t i = 0; i < x.cols; ++i) {
      const double shift = bias.empty() ? 0.0 : bias[i];
      out.row(r)[i] = static_cast<float>((x.row(r)[i] - mean) / deviation * weight[i] + shift);
    }
  }
}

void row_moments(ConstMatrix x, std::int64_t first_column, std::int64_t columns, Matrix moments) {
  for (std::int64_t r = 0; r < x.rows; ++r) {
    double sum = 0, squares = 0;
    for (std::int64_t i = 0; i < columns; ++i) sum += x.row(r)[first_column + i];
    const double mean = sum / static_cast<double>(columns);
    for (std::int64_t i = 0; i < columns; ++i) {
      const double difference = x.row(r)[first_column + i] - mean;
      squares += difference * difference;
    }
    moments.row(r)[0] = static_cast<float>(mean);
    moments.row(r)[1] = static_cast<float>(squares);
  }
}

void normalize_columns(ConstMatrix statistics, std::span<const float> weight, std::span<const float> bias,
                       std::int64_t first_column, Matrix x) {
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const double mean = statistics.row(r)[0], factor = statistics.row(r)[1];
    for (std::int64_t i = 0; i < std::ssize(weight); ++i) {
      float& value = x.row(r)[first_column + i];
      value = static_cast<float>((value - mean) * factor * weight[i] + (bias.empty() ? 0.0 : bias[i]));
    }
  }
}

void matmul(ConstMatrix x, const WeightView& weight, std::span<const float> bias, Matrix out) {
  for (std::int64_t r = 0; r < x.rows; ++r) {
    for (std::int64_t o = 0; o < weight.out_features; ++o) {
      double sum = bias.empty() ? 0.0 : bias[o];
      for (std::int64_t i = 0; i < x.cols; ++i) {
        sum += x.row(r)[i] * element(weight.data, weight.dtype, o * x.cols + i);
      }
      out.row(r)[o] = static_cast<float>(sum);
    }
  }
}

void rotary_angles(std::span<const std::int64_t> positions, std::span<const float> inverse_frequencies,
                   Matrix cosines, Matrix sines) {
  for (std::int64_t r = 0; r < cosines.rows; ++r) {
    for (std::int64_t i = 0; i < cosines.cols; ++i) {
      const long double angle = static_cast<long double>(positions[r]) * inverse_frequencies[i];
      cosines.row(r)[i] = static_cast<float>(std::cos(angle));
      sines.row(r)[i] = static_cast<float>(std::sin(angle));
    }
  }
}

void rotate(ConstMatrix x, std::int64_t first_column, int heads, int head_dim, ConstMatrix cosines,
            ConstMatrix sines, Matrix out) {
  const std::int64_t half = cosines.cols;
  for (std::int64_t r = 0; r < x.rows; ++r) {
    for (int head = 0; head < heads; ++head) {
      const float* from = &x.row(r)[first_column + head * head_dim];
      float* to = &out.row(r)[head * head_dim];
      for (std::int64_t i = 0; i < head_dim; ++i) {
        if (i >= 2 * half) {
          to[i] = from[i];
          continue;
        }
        const double cosine = cosines.row(r)[i % half];
        const double sine = sines.row(r)[i % half];
        if (i < half) {
          to[i] = static_cast<float>(from[i] * cosine - from[i + half] * sine);
        } else {
          to[i] = static_cast<float>(from[i] * cosine + from[i - half] * sine);
        }
      }
    }
  }
}

void write_cache(std::span<const AttentionRow> rows, ConstMatrix keys, ConstMatrix values,
                 std::int64_t first_value_column, const CacheLayerView& cache) {
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const AttentionRow& row = rows[r];
    for (int head = 0; head < cache.local_kv_heads; ++head) {
      for (int i = 0; i < cache.head_dim; ++i) {
        const float key = keys.row(r)[head * cache.head_dim + i];
        const float value = values.row(r)[first_value_column + head * cache.head_dim + i];
        const std::int64_t in_ring = ring_index(cache, row.slot, head, row.position, i);
        set_element(cache.ring_keys, cache.ring_dtype, in_ring, key);
        set_element(cache.ring_values, cache.ring_dtype, in_ring, value);
        if (row.position < cache.sink_capacity) {
          const std::int64_t in_sinks = sink_index(cache, row.slot, head, row.position, i);
          cache.sink_keys[in_sinks] = key;
          cache.sink_values[in_sinks] = value;
        }
      }
    }
  }
}

void attention(std::span<const AttentionRow> rows, ConstMatrix window_queries, ConstMatrix sink_queries,
               const CacheLayerView& cache, const HeadShard& shard, float scale,
               std::span<const float> alibi_slopes, Matrix out) {
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (int head = 0; head < shard.local_heads; ++head) {
      const std::int64_t column = static_cast<std::int64_t>(head) * cache.head_dim;
      attend(rows[r], shard.local_kv_head(head), &window_queries.row(r)[column], &sink_queries.row(r)[column],
             cache, scale, alibi_slopes.empty() ? 0.0f : alibi_slopes[head], &out.row(r)[column]);
    }
  }
}

void silu_multiply(ConstMatrix gate_up, Matrix out) {
  for (std::int64_t r = 0; r < out.rows; ++r) {
    for (std::int64_t i = 0; i < out.cols; ++i) {
      const double gate = gate_up.row(r)[i];
      out.row(r)[i] = static_cast<float>(gate / (1 + std::exp(-gate)) * gate_up.row(r)[out.cols + i]);
    }
  }
}

void gelu(ConstMatrix x, Matrix out) {
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) {
    const double value = x.data[i];
    out.data[i] = static_cast<float>(value / 2 * std::erfc(-value / std::numbers::sqrt2));
  }
}

void gelu_tanh(ConstMatrix x, Matrix out) {
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) {
    const double value = x.data[i];
    const double inner = std::sqrt(2 / std::numbers::pi) * (value + 0.044715 * value * value * value);
    out.data[i] = static_cast<float>(value / 2 * (1 + std::tanh(inner)));
  }
}

void add(ConstMatrix y, Matrix x) {
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) x.data[i] += y.data[i];
}

void scale(float factor, Matrix x) {
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) x.data[i] *= factor;
}

void clip(float limit, Matrix x) {
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) x.data[i] = std::clamp(x.data[i], -limit, limit);
}

}  // namespace sinkstream::kernels::reference
