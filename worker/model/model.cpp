#include "worker/model/model.h"

#include <stdexcept>
#include <utility>

namespace sinkstream {

using kernels::ConstMatrix;
using kernels::Matrix;
using kernels::Norm;

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

}  // namespace

Model::Model(const ModelConfig& config, const ShardPlan& shard, Weights weights,
             const KvCacheSizes& cache_sizes, std::int64_t max_rows, kernels::Backend& backend)
    : config_(config),
      shard_(shard),
      heads_(head_shard(config, shard)),
      backend_(backend),
      weights_(std::move(weights)),
      cache_(config, shard, cache_sizes, backend),
      slot_states_(backend.make_slot_states(cache_sizes.num_slots, config.vocab_size)),
      checked_(cache_sizes, config.vocab_size, max_rows),
      step_(max_rows, backend),
      activations_(allocate_activations(config, shard, max_rows, backend)),
      inverse_frequencies_(
          kernels::upload_array<float>(backend, config.inverse_frequencies, "rotary frequencies")),
      alibi_slopes_(kernels::upload_array<float>(backend, local_slopes(config, shard), "ALiBi slopes")),
      selected_(kernels::allocate_array<std::int32_t>(backend, kOutputsAtOnce, "rows of outputs")),
      tasks_(kernels::allocate_array<kernels::ChoiceTask>(backend, kOutputsAtOnce, "what outputs are for")) {
  if (!config_.qk_norm) return;
  query_norm_.emplace(query_features(config_, shard_), backend);
  key_norm_.emplace(key_features(config_, shard_), backend);
}

std::int64_t Model::step_bytes(const ModelConfig& config, const ShardPlan& shard, std::int64_t max_rows) {
  constexpr std::int64_t kBytesOfOutput = sizeof(std::int32_t) + sizeof(kernels::ChoiceTask);
  return activation_bytes(config, shard, max_rows) + StepArrays::bytes(max_rows) +
         kOutputsAtOnce * kBytesOfOutput;
}

void Model::begin_turn(std::int32_t slot, const SamplingParams& sampling) {
  backend_.begin_turn(slot, sampling, *slot_states_);
}

void Model::copy_slot(std::int32_t from, std::int32_t to, std::int64_t seen_tokens) {
  cache_.copy(from, to, seen_tokens);
}

void Model::save_slot(std::int32_t slot, std::int32_t place, std::int64_t seen_tokens) {
  cache_.save(slot, place, seen_tokens);
}

void Model::copy_saved(std::int32_t from, std::int32_t to, std::int64_t seen_tokens) {
  cache_.copy_saved(from, to, seen_tokens);
}

void Model::restore_slot(std::int32_t place, std::int32_t slot, std::int64_t seen_tokens) {
  cache_.restore(place, slot, seen_tokens);
}

void Model::close_slot(std::int32_t slot) {
  leave_slot(slot);
  cache_.release(slot);
}

void Model::leave_slot(std::int32_t slot) {
  backend_.end_turn(slot, *slot_states_);
}

void Model::forward(std::span<const ModelRow> rows) {
  Activations& a = activations_;
  checked_.assign(rows);
  step_.upload(checked_, backend_);
  a.set_rows(std::ssize(rows));
  backend_.take_last_chosen(step_.slots(), *slot_states_, step_.tokens());
  backend_.rotary_angles(step_.true_positions(), inverse_frequencies_.span, a.angles.true_cosines,
                         a.angles.true_sines);
  backend_.rotary_angles(step_.cache_positions(), inverse_frequencies_.span, a.angles.cache_cosines,
                         a.angles.cache_sines);

  backend_.embed(step_.tokens(), weights_.embedding.weight, shard_.vocab.begin, a.hidden);
  backend_.sum_over_ranks(a.hidden);  // each token's row is zero but on one rank
  backend_.norm(a.hidden, weights_.layers.front().attention_norm, a.normed);
  for (std::int64_t index = 0; index < config_.num_layers; ++index) decoder_layer(index);
}

// From normed = attention_norm(hidden) to normed = the next layer's. Each rank computes its own heads and its
// own part of the MLP.
void Model::decoder_layer(std::int64_t index) {
  const LayerWeights& layer = weights_.layers[static_cast<std::size_t>(index)];
  Activations& a = activations_;
  attention(index, a.normed, a.partial);
  if (config_.parallel_residual) {  // x += attention(norm(x)) + mlp(norm(x))
    if (!config_.shared_norm()) backend_.norm(a.hidden, layer.mlp_norm, a.normed);
    mlp(layer, a.normed, a.mlp_partial);
    backend_.add(a.mlp_partial, a.partial);
  } else {  // x += attention(norm(x)); x += mlp(norm(x))
    backend_.sum_and_norm(a.partial, layer.mlp_norm, a.hidden, a.normed);
    mlp(layer, a.normed, a.partial);
  }
  backend_.sum_and_norm(a.partial, norm_after(index), a.hidden, a.normed);
}

const Norm& Model::norm_after(std::int64_t index) const {
  const auto next = static_cast<std::size_t>(index) + 1;
  return next < weights_.layers.size() ? weights_.layers[next].attention_norm : weights_.final_norm;
}

void Model::attention(std::int64_t index, ConstMatrix normed, Matrix partial) {
  const LayerWeights& layer = weights_.layers[static_cast<std::size_t>(index)];
  const kernels::CacheLayerView& cache = cache_.layer(index);
  Activations& a = activations_;
  backend_.matmul(normed, layer.qkv.weight, layer.qkv.bias, a.qkv);
  if (config_.qkv_clip > 0) backend_.clip(config_.qkv_clip, a.qkv);
  if (config_.qk_norm) {
    query_norm_->apply(layer.query_norm, a.moments, a.all_moments, a.qkv, backend_);
    key_norm_->apply(layer.key_norm, a.moments, a.all_moments, a.qkv, backend_);
  }
  backend_.rotate_and_store(a.qkv, a.angles, step_.attention(), heads_, cache, a.window_query, a.sink_query);
  backend_.attention(step_.attention(), a.window_query, a.sink_query, cache, heads_, config_.attention_scale,
                     alibi_slopes_.span, a.attention);
  backend_.matmul(a.attention, layer.attention_out.weight, layer.attention_out.bias, partial);
}

void Model::mlp(const LayerWeights& layer, ConstMatrix normed, Matrix partial) {
  Activations& a = activations_;
  backend_.matmul(normed, layer.mlp_up.weight, layer.mlp_up.bias, a.mlp_up);
  switch (config_.mlp) {
    case MlpKind::gated_silu:
      backend_.silu_multiply(a.mlp_up, a.mlp);
      break;
    case MlpKind::gelu:
      backend_.gelu(a.mlp_up, a.mlp);
      break;
    case MlpKind::gelu_tanh:
      backend_.gelu_tanh(a.mlp_up, a.mlp);
      break;
  }
  backend_.matmul(a.mlp, layer.mlp_down.weight, layer.mlp_down.bias, partial);
}

ConstMatrix Model::logits(std::span<const std::int32_t> selected) {
  const std::int64_t count = std::ssize(selected);
  Activations& a = activations_;
  if (count > kOutputsAtOnce) throw std::invalid_argument("logits: more rows than kOutputsAtOnce");
  for (const std::int32_t row : selected) {
    if (row < 0 || row >= a.normed.rows) throw std::invalid_argument("logits: no such row");
  }
  const Matrix chosen = a.selected.first_rows(count), logits = a.logits.first_rows(count);
  backend_.upload(std::as_bytes(selected), selected_.span.data);
  backend_.select_rows(a.normed, selected_.span.part(0, count), chosen);
  backend_.matmul(chosen, weights_.lm_head.weight, weights_.lm_head.bias, logits);
  if (config_.logit_scale != 1.0f) backend_.scale(config_.logit_scale, logits);
  return logits;
}

void Model::choose(ConstMatrix logits, std::span<const kernels::ChoiceTask> tasks,
                   kernels::DeviceSpan<kernels::Choice> out) {
  if (std::ssize(tasks) > kOutputsAtOnce)
    throw std::invalid_argument("choose: more rows than kOutputsAtOnce");
  backend_.upload(std::as_bytes(tasks), tasks_.span.data);
  backend_.choose(logits, shard_.vocab, config_.vocab_size, tasks_.span.part(0, std::ssize(tasks)),
                  *slot_states_, out);
}

}  // namespace sinkstream
