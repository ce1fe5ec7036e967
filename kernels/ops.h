// The one list of operations. Every operation is deterministic, and a row of its result depends on that row's
// input alone: not on how many rows there are, not on the number of threads.
//
// Legend:  rows        tokens in this step (any mix of prefill chunks and decode tokens)
//          width       hidden size, or any feature count
//          local_*     this rank's share; names without it are the whole model's
// Shapes are checked on entry; a mismatch throws std::invalid_argument.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/types.h"

namespace sinkstream::kernels {

class ThreadPool;

// What an operation runs on. A CUDA backend adds its stream here.
struct Context {
  ThreadPool& threads;
};

// Name of the instruction set that the operations run on, e.g. "AVX2" (chosen when the process starts).
const char* instruction_set();

// out[r] = table[tokens[r] - first_token]; zero when the token's row belongs to another rank.
//   tokens [rows], table [local_vocab, hidden], out [rows, hidden]
void embed(Context& context, std::span<const std::int32_t> tokens, const WeightView& table,
           std::int64_t first_token, Matrix out);

// Root mean square norm (Zhang & Sennrich 2019): out = x / sqrt(mean(x^2) + epsilon) * weight.
//   x, out [rows, width], weight [width]
void rms_norm(Context& context, ConstMatrix x, std::span<const float> weight, float epsilon, Matrix out);

// Layer norm (Ba et al. 2016): out = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight (+ bias).
//   x, out [rows, width], weight [width], bias [width] or empty
void layer_norm(Context& context, ConstMatrix x, std::span<const float> weight, std::span<const float> bias,
                float epsilon, Matrix out);

// A layer norm over features that are spread over ranks, in two halves: each rank measures its own columns
// [first_column, first_column + columns) of every row, then all normalize by what they have combined.
//   moments [rows, 2]: mean, and sum of squared differences from it
void row_moments(Context& context, ConstMatrix x, std::int64_t first_column, std::int64_t columns,
                 Matrix moments);
//   statistics [rows, 2]: mean, 1 / sqrt(variance + epsilon); weight [columns], bias [columns] or empty
void normalize_columns(Context& context, ConstMatrix statistics, std::span<const float> weight,
                       std::span<const float> bias, std::int64_t first_column, Matrix x);

// out = x * weight^T (+ bias).   x [rows, in_features], bias [out_features] or empty, out [rows,
// out_features]
void matmul(Context& context, ConstMatrix x, const WeightView& weight, std::span<const float> bias,
            Matrix out);

// Cosines and sines of position * inverse_frequency, the product taken in float64 because float32 is off by
// 4e-2 at position 4,000,000.   positions [rows], inverse_frequencies [half], cosines, sines [rows, half]
void rotary_angles(Context& context, std::span<const std::int64_t> positions,
                   std::span<const float> inverse_frequencies, Matrix cosines, Matrix sines);

// Rotary embedding (Su et al. 2021) in the half-split layout: dimensions i and i + half of each head turn
// together, half = cosines.cols; dimensions from 2 * half on are copied.
//   x: `heads` heads of head_dim starting at column `first_column` of each row;  cosines, sines [rows, half]
//   out [rows, heads * head_dim]
void rotate(Context& context, ConstMatrix x, std::int64_t first_column, int heads, int head_dim,
            ConstMatrix cosines, ConstMatrix sines, Matrix out);

// Stores each row's key and value at its position in the ring and, where position < sink_capacity, in the
// sinks.
//   keys [rows, local_kv_heads * head_dim] (rotated at `position`)
//   values: the same number of columns, starting at column `first_value_column` of each row of `values`
void write_cache(Context& context, std::span<const AttentionRow> rows, ConstMatrix keys, ConstMatrix values,
                 std::int64_t first_value_column, const CacheLayerView& cache);

// Softmax attention over sinks and window with one softmax over both (Xiao et al. 2023, section 3.2). Scores
// of the sinks use `sink_queries`, rotated at the position within the cache; those of the window
// `window_queries`, rotated at the true position. Sums run in ascending position, in fixed lanes.
// With ALiBi (Press et al. 2022) head h's score is scale * q.k - alibi_slopes[h] * distance, where distance
// counts the tokens that are kept between key and query.
//   window_queries, sink_queries, out [rows, local_heads * head_dim], alibi_slopes [local_heads] or empty
void attention(Context& context, std::span<const AttentionRow> rows, ConstMatrix window_queries,
               ConstMatrix sink_queries, const CacheLayerView& cache, const HeadShard& shard, float scale,
               std::span<const float> alibi_slopes, Matrix out);

// out = silu(gate) * up, where a row of gate_up is [gate, up] (Shazeer 2020).
//   gate_up [rows, 2 * width], out [rows, width]
void silu_multiply(Context& context, ConstMatrix gate_up, Matrix out);

// out = gelu(x) = x * Phi(x), by the error function (Hendrycks & Gimpel 2016).   x, out [rows, width]
void gelu(Context& context, ConstMatrix x, Matrix out);

// The same by its tanh approximation: out = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
void gelu_tanh(Context& context, ConstMatrix x, Matrix out);

// x += y.   [rows, width]
void add(Context& context, ConstMatrix y, Matrix x);

// x *= factor.   [rows, width]
void scale(Context& context, float factor, Matrix x);

// x = min(max(x, -limit), limit).   [rows, width], limit > 0
void clip(Context& context, float limit, Matrix x);

}  // namespace sinkstream::kernels
