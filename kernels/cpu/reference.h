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

void matmul(ConstMatrix x, const WeightView& weight, std::span<const float> bias, Matrix out);

void rotary_angles(std::span<const std::int64_t> positions, std::span<const float> inverse_frequencies,
                   Matrix cosines, Matrix sines);

void rotate(ConstMatrix x, std::int64_t first_column, int heads, int head_dim, ConstMatrix cosines,
            ConstMatrix sines, Matrix out);

void write_cache(std::span<const AttentionRow> rows, ConstMatrix keys, ConstMatrix values,
                 std::int64_t first_value_column, const CacheLayerView& cache);

void attention(std::span<const AttentionRow> rows, ConstMatrix window_queries, ConstMatrix sink_queries,
               const CacheLayerView& cache, const HeadShard& shard, float scale, Matrix out);

void silu_multiply(ConstMatrix gate_up, Matrix out);

void add(ConstMatrix y, Matrix x);

}  // namespace sinkstream::kernels::reference
