#include <algorithm>
#include <stdexcept>
#include <utility>

#include "worker/model/model.h"

namespace sinkstream {

using kernels::ConstMatrix;
using kernels::Matrix;

namespace {

kernels::HeadShard head_shard(const ModelConfig& config, const ShardPlan& shard) {
  return {.first_head = static_cast<int>(shard.heads.begin),
          .local_heads = static_cast<int>(shard.heads.size()),
          .group_size = static_cast<int>(config.group_size()),
          .first_kv_head = static_cast<int>(shard.kv_heads.begin),
          .local_kv_heads = static_cast<int>(shard.kv_heads.size())};
}

// The slopes of this rank's heads.
std::span<const float> local_slopes(const ModelConfig& config, const ShardPlan& shard) {
  if (config.alibi_slopes.empty()) return {};
  return std::span(config.alibi_slopes)
      .subspan(static_cast<std::size_t>(shard.heads.begin), static_cast<std::size_t>(shard.heads.size()));
}

std::span<float> values_of(Matrix matrix) {
  return {matrix.data, static_cast<std::size_t>(matrix.rows * matrix.cols)};
}

}  // namespace

Model::Model(const ModelConfig& config, const ShardPlan& shard, Weights weights,
             const KvCacheSizes& cache_sizes, std::int64_t max_rows, Communicator& communicator,
             kernels::Context context)
    : config_(config),
      shard_(shard),
      heads_(head_shard(config, shard)),
      alibi_slopes_(local_slopes(config_, shard)),
      weights_(std::move(weights)),
      cache_(config, shard, cache_sizes),
      step_(cache_sizes, config.vocab_size, max_rows),
      activations_(config, shard, max_rows),
      communicator_(communicator),
      context_(context) {
  if (!config_.qk_norm) return;
  queries_ = query_features(config_, shard_);
  keys_ = key_features(config_, shard_);
}

ConstMatrix Model::forward(std::span<const ModelRow> rows) {
  Activations& a = activations_;
  step_.assign(rows);
  a.set_rows(static_cast<std::int64_t>(rows.size()));
  rotary_angles(context_, step_.true_positions(), config_.inverse_frequencies, a.true_cosines, a.true_sines);
  rotary_angles(context_, step_.cache_positions(), config_.inverse_frequencies, a.cache_cosines,
                a.cache_sines);

  embed(context_, step_.tokens(), weights_.embedding.weight, shard_.vocab.begin, a.hidden);
  communicator_.all_reduce_sum(values_of(a.hidden));  // each token's row is zero but on one rank
  for (std::int64_t index = 0; index < config_.num_layers; ++index) decoder_layer(index);
  return a.hidden;
}

// Each rank computes its own heads and its own part of the MLP.
void Model::decoder_layer(std::int64_t index) {
  const LayerWeights& layer = weights_.layers[static_cast<std::size_t>(index)];
  Activations& a = activations_;
  norm(a.hidden, layer.attention_norm, a.normed);
  attention_block(index, a.partial);
  if (config_.parallel_residual) {  // x += attention(norm(x)) + mlp(norm(x))
    if (!config_.shared_norm()) norm(a.hidden, layer.mlp_norm, a.normed);
    mlp_block(index, a.mlp_partial);
    add(context_, a.mlp_partial, a.partial);
    add_sum_over_ranks();
  } else {  // x += attention(norm(x)); x += mlp(norm(x))
    add_sum_over_ranks();
    norm(a.hidden, layer.mlp_norm, a.normed);
    mlp_block(index, a.partial);
    add_sum_over_ranks();
  }
}

void Model::norm(ConstMatrix x, const NormWeights& weights, Matrix out) {
  if (config_.norm == NormKind::rms) {
    rms_norm(context_, x, weights.weight, config_.norm_epsilon, out);
  } else {
    layer_norm(context_, x, weights.weight, weights.bias, config_.norm_epsilon, out);
  }
}

void Model::attention_block(std::int64_t index, Matrix out) {
  const LayerWeights& layer = weights_.layers[static_cast<std::size_t>(index)];
  const kernels::CacheLayerView& cache = cache_.layer(index);
  const auto rows = step_.attention();
  const auto head_dim = static_cast<int>(config_.head_dim);
  Activations& a = activations_;
  const std::int64_t first_key = a.window_query.cols;
  const std::int64_t first_value = first_key + a.key.cols;

  matmul(context_, a.normed, layer.qkv.weight, layer.qkv.bias, a.qkv);
  if (config_.qkv_clip > 0) clip(context_, config_.qkv_clip, a.qkv);
  if (config_.qk_norm) {
    spread_layer_norm(context_, communicator_, *queries_, layer.query_norm, config_.norm_epsilon,
                      a.query_moments, a.qkv);
    spread_layer_norm(context_, communicator_, *keys_, layer.key_norm, config_.norm_epsilon, a.key_moments,
                      a.qkv);
  }
  rotate(context_, a.qkv, 0, heads_.local_heads, head_dim, a.true_cosines, a.true_sines, a.window_query);
  rotate(context_, a.qkv, 0, heads_.local_heads, head_dim, a.cache_cosines, a.cache_sines, a.sink_query);
  rotate(context_, a.qkv, first_key, heads_.local_kv_heads, head_dim, a.true_cosines, a.true_sines, a.key);
  write_cache(context_, rows, a.key, a.qkv, first_value, cache);
  attention(context_, rows, a.window_query, a.sink_query, cache, heads_, config_.attention_scale,
            alibi_slopes_, a.attention);
  matmul(context_, a.attention, layer.attention_out.weight, layer.attention_out.bias, out);
}

void Model::mlp_block(std::int64_t index, Matrix out) {
  const LayerWeights& layer = weights_.layers[static_cast<std::size_t>(index)];
  Activations& a = activations_;
  matmul(context_, a.normed, layer.mlp_up.weight, layer.mlp_up.bias, a.mlp_up);
  switch (config_.mlp) {
    case MlpKind::gated_silu:
      silu_multiply(context_, a.mlp_up, a.mlp);
      break;
    case MlpKind::gelu:
      gelu(context_, a.mlp_up, a.mlp);
      break;
    case MlpKind::gelu_tanh:
      gelu_tanh(context_, a.mlp_up, a.mlp);
      break;
  }
  matmul(context_, a.mlp, layer.mlp_down.weight, layer.mlp_down.bias, out);
}

void Model::add_sum_over_ranks() {
  communicator_.all_reduce_sum(values_of(activations_.partial));
  add(context_, activations_.partial, activations_.hidden);
}

void Model::logits(ConstMatrix hidden, std::span<const std::int32_t> selected, Matrix out) {
  const auto count = static_cast<std::int64_t>(selected.size());
  Activations& a = activations_;
  if (selected.empty()) return;
  if (count > a.max_rows()) throw std::invalid_argument("logits: more rows than a step has");
  const Matrix chosen = {a.partial.data, count, a.partial.cols};
  const Matrix normed = {a.normed.data, count, a.normed.cols};
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int32_t row = selected[static_cast<std::size_t>(i)];
    if (row < 0 || row >= hidden.rows) throw std::invalid_argument("logits: no such row");
    std::ranges::copy(hidden.row(row), chosen.row(i).begin());
  }
  norm(chosen, weights_.final_norm, normed);
  matmul(context_, normed, weights_.lm_head.weight, weights_.lm_head.bias, out);
  if (config_.logit_scale != 1.0f) scale(context_, config_.logit_scale, out);
}

}  // namespace sinkstream
