// Every operation written as its definition, one element after the other, summed in float64. Slow, and the
// measure of the fast ones: change it only when the definition changes. Arguments are those of kernels/ops.h,
// unchecked.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/types.h"

namespace sinkstream::kernels::reference {

void embed(std::span<const std::int32_t> tokens, const WeightView& table, std::int64_t first_token,
           Matrix out);

void rms_norm(ConstMatrix x, std::span<const float> weight, float epsilon, Matrix out);

void layer_norm(ConstMatrix x, std::span<const float> weight, std::span<const float> bias, float epsilon,
                Matrix out);

void row_moments(ConstMatrix x, std::int64_t first_column, std::int64_t columns, Matrix moments);

void normalize_columns(ConstMatrix statistics, std::span<const float> weight, std::span<const float> bias,
                       std::int64_t first_column, Matrix x);

void matmul(ConstMatrix x, const WeightView& weight, std::span<const float> bias, Matrix out);

void rotary_angles(std::span<const std::int64_t> positions, std::span<const float> inverse_frequencies,
                   Matrix cosines, Matrix sines);

void rotate(ConstMatrix x, std::int64_t first_column, int heads, int head_dim, ConstMatrix cosines,
            ConstMatrix sines, Matrix out);

void write_cache(std::span<const AttentionRow> rows, ConstMatrix keys, ConstMatrix values,
                 std::int64_t first_value_column, const CacheLayerView& cache);

void attention(std::span<const AttentionRow> rows, ConstMatrix window_queries, ConstMatrix sink_queries,
               const CacheLayerView& cache, const HeadShard& shard, float scale,
               std::span<const float> alibi_slopes, Matrix out);

void silu_multiply(ConstMatrix gate_up, Matrix out);

void gelu(ConstMatrix x, Matrix out);

void gelu_tanh(ConstMatrix x, Matrix out);

void add(ConstMatrix y, Matrix x);

void scale(float factor, Matrix x);

void clip(float limit, Matrix x);

}  // namespace sinkstream::kernels::reference
