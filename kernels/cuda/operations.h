// The operations of kernels/backend.h on a GPU: each queues its kernels on the device's stream. Arguments
// have been checked. One file an operation, named like it.
#pragma once

#include <cstdint>

#include "base/range.h"
#include "kernels/choice.h"
#include "kernels/cuda/device.h"
#include "kernels/types.h"
#include "kernels/weight.h"

namespace sinkstream::kernels::cuda {

// A weight without its ownership, as kernels and recorded calls take it.
struct WeightView {
  WeightShape shape;
  Address data = Address::none;

  bool operator==(const WeightView&) const = default;
};

// packed_weight.h says how a weight is laid out.
std::int64_t packed_bytes(const WeightShape& shape);
// Packs rows [first_row, first_row + rows.rows).   rows [any, shape.packed_columns()], on the device
void pack(const Device& device, ConstMatrix rows, std::int64_t first_row, const WeightView& weight);

void embed(const Device& device, DeviceSpan<const std::int32_t> tokens, const WeightView& table,
           std::int64_t first_token, Matrix out);
void matmul(const Device& device, ConstMatrix x, const WeightView& weight, Vector bias, Matrix out);

void norm(const Device& device, ConstMatrix x, const Norm& norm, Matrix out);
// hidden += partial; normed = norm(hidden)
void add_and_norm(const Device& device, ConstMatrix partial, const Norm& norm, Matrix hidden, Matrix normed);
void row_moments(const Device& device, ConstMatrix x, std::int64_t first_column, std::int64_t columns,
                 Matrix moments);
void combine_moments(const Device& device, ConstMatrix moments, DeviceSpan<const std::int64_t> counts,
                     float epsilon, Matrix statistics);
void normalize_columns(const Device& device, ConstMatrix statistics, Vector weight, Vector bias,
                       std::int64_t first_column, Matrix x);

void rotary_angles(const Device& device, DeviceSpan<const std::int64_t> positions, Vector inverse_frequencies,
                   Matrix cosines, Matrix sines);
void rotate_and_store(const Device& device, ConstMatrix qkv, const RotaryAngles& angles,
                      DeviceSpan<const AttentionRow> rows, const HeadShard& shard,
                      const CacheLayerView& cache, Matrix window_queries, Matrix sink_queries);
void attention(const Device& device, DeviceSpan<const AttentionRow> rows, ConstMatrix window_queries,
               ConstMatrix sink_queries, const CacheLayerView& cache, const HeadShard& shard, float scale,
               Vector alibi_slopes, Matrix out);

void silu_multiply(const Device& device, ConstMatrix gate_up, Matrix out);
void gelu(const Device& device, ConstMatrix x, Matrix out);
void gelu_tanh(const Device& device, ConstMatrix x, Matrix out);
void add(const Device& device, ConstMatrix y, Matrix x);
void scale(const Device& device, float factor, Matrix x);
void clip(const Device& device, float limit, Matrix x);

void select_rows(const Device& device, ConstMatrix x, DeviceSpan<const std::int32_t> selected, Matrix out);

}  // namespace sinkstream::kernels::cuda
