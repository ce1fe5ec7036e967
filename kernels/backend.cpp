// What is checked of every operation's arguments, whatever the backend.
#include "kernels/backend.h"

#include <algorithm>

#include "kernels/cache_layout.h"
#include "kernels/checks.h"

namespace sinkstream::kernels {
namespace {

void check_weight(const Checks& check, const Weight& weight) {
  check.range("weight.in_features", weight.shape.in_features, 1, INT64_MAX);
}

void check_norm(const Checks& check, const Norm& norm, std::int64_t width) {
  check.equal("weight size", norm.weight.size, "x.cols", width);
  if (norm.kind == NormKind::rms) {
    check.equal("bias size", norm.bias.size, "0", 0);
  } else if (!norm.bias.empty()) {
    check.equal("bias size", norm.bias.size, "x.cols", width);
  }
}

void check_cache(const Checks& check, const CacheLayerView& cache) {
  check.range("cache.local_kv_heads", cache.local_kv_heads, 0, INT32_MAX);
  check.range("cache.head_dim", cache.head_dim, 1, INT32_MAX);
  check.range("cache.sink_capacity", cache.sink_capacity, 0, INT64_MAX);
  check.range("cache.ring_capacity", cache.ring_capacity, 1, INT64_MAX);
  if (cache.num_slots <= 1) return;
  check.range("cache.slot_stride_bytes", cache.slot_stride_bytes, 1, INT64_MAX);
  check.equal("cache.slot_stride_bytes", cache.slot_stride_bytes, "a multiple of kCacheAlignment",
              cache.slot_stride_bytes / kCacheAlignment * kCacheAlignment);
}

void check_shard(const Checks& check, const HeadShard& shard, const CacheLayerView& cache) {
  check.range("shard.first_head", shard.first_head, 0, INT32_MAX);
  check.range("shard.local_heads", shard.local_heads, 1, INT32_MAX - shard.first_head);
  check.range("shard.group_size", shard.group_size, 1, INT32_MAX);
  check.equal("shard.local_kv_heads", shard.local_kv_heads, "cache.local_kv_heads", cache.local_kv_heads);
  check.range("the first head's KV head", shard.local_kv_head(0), 0, shard.local_kv_heads - 1);
  check.range("the last head's KV head", shard.local_kv_head(shard.local_heads - 1), 0,
              shard.local_kv_heads - 1);
}

// A matrix of each row's query heads.
void check_queries(const Checks& check, const std::string& name, const ConstMatrix& matrix, std::int64_t rows,
                   std::int64_t width) {
  check.equal(name + ".rows", matrix.rows, "rows", rows);
  check.equal(name + ".cols", matrix.cols, "local_heads * head_dim", width);
}

void check_angles(const Checks& check, const RotaryAngles& angles, std::int64_t rows, int head_dim) {
  check.range("true_cosines.cols", angles.true_cosines.cols, 0, head_dim / 2);
  check.equal("true_cosines.rows", angles.true_cosines.rows, "rows", rows);
  check.same_shape("true_sines", angles.true_sines, "true_cosines", angles.true_cosines);
  check.same_shape("cache_cosines", angles.cache_cosines, "true_cosines", angles.true_cosines);
  check.same_shape("cache_sines", angles.cache_sines, "true_cosines", angles.true_cosines);
}

}  // namespace

void Backend::copy(Address from, Address to, const Pieces& pieces) {
  const Checks check("copy");
  check.range("bytes", pieces.bytes, 0, INT64_MAX);
  check.range("count", pieces.count, 0, INT64_MAX);
  if (pieces.bytes == 0 || pieces.count == 0) return;
  if (pieces.count > 1) check.range("stride", pieces.stride, pieces.bytes, INT64_MAX / pieces.count);
  const std::int64_t reach = (pieces.count - 1) * pieces.stride + pieces.bytes;
  const auto first = static_cast<std::int64_t>(std::min(from, to));
  check.range("from `from` to `to`", static_cast<std::int64_t>(std::max(from, to)) - first, reach, INT64_MAX);
  do_copy(from, to, pieces);
}

Weight Backend::allocate_weight(const WeightShape& shape) {
  const Checks check("allocate_weight");
  check.range("out_features", shape.out_features, 0, INT64_MAX);
  check.range("in_features", shape.in_features, 0, INT64_MAX);
  const std::int64_t most_others = is_quantized(shape.format) ? kGroupSize - 1 : 0;
  check.range("columns_before", shape.columns_before, 0, most_others);
  check.range("columns_after", shape.columns_after, 0, most_others);
  return {shape, allocate_for_weight(packed_bytes(shape))};
}

void Backend::pack(const StoredRows& rows, std::int64_t first_row, const Weight& weight) {
  const Checks check("pack");
  check.equal("rows.cols", rows.cols, "columns to pack", weight.shape.packed_columns());
  check.range("rows.rows", rows.rows, 0, weight.shape.out_features);
  check.range("first_row", first_row, 0, weight.shape.out_features - rows.rows);
  do_pack(rows, first_row, weight);
}

void Backend::take_last_chosen(DeviceSpan<const std::int32_t> slots, const SlotStates& states,
                               DeviceSpan<std::int32_t> tokens) {
  Checks("take_last_chosen").equal("slots", slots.size, "tokens", tokens.size);
  do_take_last_chosen(slots, states, tokens);
}

void Backend::embed(DeviceSpan<const std::int32_t> tokens, const Weight& table, std::int64_t first_token,
                    Matrix out) {
  const Checks check("embed");
  check.equal("out.rows", out.rows, "tokens", tokens.size);
  check.equal("out.cols", out.cols, "table.in_features", table.shape.in_features);
  do_embed(tokens, table, first_token, out);
}

void Backend::norm(ConstMatrix x, const Norm& norm, Matrix out) {
  const Checks check(norm.kind == NormKind::rms ? "rms_norm" : "layer_norm");
  check.range("x.cols", x.cols, 1, INT64_MAX);
  check_norm(check, norm, x.cols);
  check.same_shape("out", out, "x", x);
  do_norm(x, norm, out);
}

void Backend::row_moments(ConstMatrix x, std::int64_t first_column, std::int64_t columns, Matrix moments) {
  const Checks check("row_moments");
  check.range("columns", columns, 0, x.cols);
  check.range("first_column", first_column, 0, x.cols - columns);
  check.same_rows("moments", moments, "x", x);
  check.equal("moments.cols", moments.cols, "2", 2);
  do_row_moments(x, first_column, columns, moments);
}

void Backend::combine_moments(ConstMatrix moments, DeviceSpan<const std::int64_t> counts, float epsilon,
                              Matrix statistics) {
  const Checks check("combine_moments");
  check.equal("moments.rows", moments.rows, "counts * statistics.rows", counts.size * statistics.rows);
  check.equal("moments.cols", moments.cols, "2", 2);
  check.equal("statistics.cols", statistics.cols, "2", 2);
  do_combine_moments(moments, counts, epsilon, statistics);
}

void Backend::normalize_columns(ConstMatrix statistics, Vector weight, Vector bias, std::int64_t first_column,
                                Matrix x) {
  const Checks check("normalize_columns");
  check.range("weight size", weight.size, 1, x.cols);
  check.range("first_column", first_column, 0, x.cols - weight.size);
  if (!bias.empty()) check.equal("bias size", bias.size, "weight size", weight.size);
  check.same_rows("statistics", statistics, "x", x);
  check.equal("statistics.cols", statistics.cols, "2", 2);
  do_normalize_columns(statistics, weight, bias, first_column, x);
}

void Backend::matmul(ConstMatrix x, const Weight& weight, Vector bias, Matrix out) {
  const Checks check("matmul");
  check_weight(check, weight);
  check.equal("x.cols", x.cols, "weight.in_features", weight.shape.in_features);
  check.same_rows("out", out, "x", x);
  check.equal("out.cols", out.cols, "weight.out_features", weight.shape.out_features);
  if (!bias.empty()) check.equal("bias size", bias.size, "weight.out_features", weight.shape.out_features);
  if (x.rows > 0) do_matmul(x, weight, bias, out);
}

void Backend::rotary_angles(DeviceSpan<const std::int64_t> positions, Vector inverse_frequencies,
                            Matrix cosines, Matrix sines) {
  const Checks check("rotary_angles");
  check.equal("cosines.rows", cosines.rows, "positions", positions.size);
  check.equal("sines.rows", sines.rows, "positions", positions.size);
  check.equal("cosines.cols", cosines.cols, "inverse_frequencies", inverse_frequencies.size);
  check.equal("sines.cols", sines.cols, "inverse_frequencies", inverse_frequencies.size);
  do_rotary_angles(positions, inverse_frequencies, cosines, sines);
}

void Backend::rotate_and_store(ConstMatrix qkv, const RotaryAngles& angles,
                               DeviceSpan<const AttentionRow> rows, const HeadShard& shard,
                               const CacheLayerView& cache, Matrix window_queries, Matrix sink_queries) {
  const Checks check("rotate_and_store");
  check_cache(check, cache);
  check_shard(check, shard, cache);
  const std::int64_t query_heads = shard.local_heads, kv_heads = shard.local_kv_heads;
  check.equal("qkv.rows", qkv.rows, "rows", rows.size);
  check.equal("qkv.cols", qkv.cols, "(local_heads + 2 * local_kv_heads) * head_dim",
              (query_heads + 2 * kv_heads) * cache.head_dim);
  check_angles(check, angles, rows.size, cache.head_dim);
  check_queries(check, "window_queries", window_queries, rows.size, query_heads * cache.head_dim);
  check_queries(check, "sink_queries", sink_queries, rows.size, query_heads * cache.head_dim);
  do_rotate_and_store(qkv, angles, rows, shard, cache, window_queries, sink_queries);
}

void Backend::attention(DeviceSpan<const AttentionRow> rows, ConstMatrix window_queries,
                        ConstMatrix sink_queries, const CacheLayerView& cache, const HeadShard& shard,
                        float scale, Vector alibi_slopes, Matrix out) {
  const Checks check("attention");
  const std::int64_t width = static_cast<std::int64_t>(shard.local_heads) * cache.head_dim;
  check_cache(check, cache);
  check_shard(check, shard, cache);
  check_queries(check, "window_queries", window_queries, rows.size, width);
  check_queries(check, "sink_queries", sink_queries, rows.size, width);
  check_queries(check, "out", out, rows.size, width);
  check.positive("scale", scale);
  if (!alibi_slopes.empty()) {
    check.equal("alibi_slopes size", alibi_slopes.size, "local_heads", shard.local_heads);
  }
  do_attention(rows, window_queries, sink_queries, cache, shard, scale, alibi_slopes, out);
}

void Backend::silu_multiply(ConstMatrix gate_up, Matrix out) {
  const Checks check("silu_multiply");
  check.same_rows("gate_up", gate_up, "out", out);
  check.equal("gate_up.cols", gate_up.cols, "2 * out.cols", 2 * out.cols);
  do_silu_multiply(gate_up, out);
}

void Backend::gelu(ConstMatrix x, Matrix out) {
  Checks("gelu").same_shape("x", x, "out", out);
  do_gelu(x, out);
}

void Backend::gelu_tanh(ConstMatrix x, Matrix out) {
  Checks("gelu_tanh").same_shape("x", x, "out", out);
  do_gelu_tanh(x, out);
}

void Backend::add(ConstMatrix y, Matrix x) {
  Checks("add").same_shape("y", y, "x", x);
  do_add(y, x);
}

void Backend::scale(float factor, Matrix x) {
  do_scale(factor, x);
}

void Backend::clip(float limit, Matrix x) {
  Checks("clip").positive("limit", limit);
  do_clip(limit, x);
}

void Backend::sum_over_ranks(Matrix x) {
  do_sum_over_ranks(x);
}

void Backend::sum_and_norm(Matrix partial, const Norm& norm, Matrix hidden, Matrix normed) {
  const Checks check("sum_and_norm");
  check.same_shape("partial", partial, "hidden", hidden);
  check.same_shape("normed", normed, "hidden", hidden);
  check_norm(check, norm, hidden.cols);
  do_sum_and_norm(partial, norm, hidden, normed);
}

void Backend::gather_over_ranks(ConstMatrix mine, Matrix all) {
  const Checks check("gather_over_ranks");
  check.equal("all.rows", all.rows, "ranks * mine.rows", ranks() * mine.rows);
  check.equal("all.cols", all.cols, "mine.cols", mine.cols);
  do_gather_over_ranks(mine, all);
}

void Backend::select_rows(ConstMatrix x, DeviceSpan<const std::int32_t> selected, Matrix out) {
  const Checks check("select_rows");
  check.equal("out.rows", out.rows, "selected", selected.size);
  check.equal("out.cols", out.cols, "x.cols", x.cols);
  do_select_rows(x, selected, out);
}

void Backend::choose(ConstMatrix logits, Range vocab, std::int64_t vocab_size,
                     DeviceSpan<const ChoiceTask> tasks, SlotStates& states, DeviceSpan<Choice> out) {
  const Checks check("choose");
  check.range("vocab.end", vocab.end, 0, vocab_size);
  check.range("vocab.begin", vocab.begin, 0, vocab.end);
  check.equal("logits.rows", logits.rows, "tasks", tasks.size);
  check.equal("logits.cols", logits.cols, "vocab size", vocab.size());
  check.equal("out", out.size, "tasks", tasks.size);
  do_choose(logits, vocab, vocab_size, tasks, states, out);
}

}  // namespace sinkstream::kernels
