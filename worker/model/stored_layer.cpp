#include "worker/model/stored_layer.h"

namespace sinkstream {
namespace {

// "model.layers.{}.mlp" -> "model.layers.7.mlp"
std::string of_layer(const std::string& name, std::int64_t layer) {
  std::string result = name;
  return result.replace(result.find("{}"), 2, std::to_string(layer));
}

void check_linear(const Checkpoint& checkpoint, const StoredLinear& linear) {
  checkpoint.expect(linear.name + ".weight", {linear.out_features, linear.in_features});
  const std::string bias = linear.name + ".bias";
  if (linear.bias) {
    checkpoint.expect(bias, {linear.out_features});
  } else if (checkpoint.contains(bias)) {
    checkpoint.refuse(bias, "config.json has no bias there");
  }
}

void refuse_further_layers(const Checkpoint& checkpoint, const ModelConfig& config) {
  const std::string& pattern = config.names.attention_norm;
  const std::string next_layer = of_layer(pattern.substr(0, pattern.find("{}") + 2) + '.', config.num_layers);
  const auto found = checkpoint.tensors().lower_bound(next_layer);
  if (found != checkpoint.tensors().end() && found->first.starts_with(next_layer)) {
    checkpoint.refuse(found->first, "config.json has only " + std::to_string(config.num_layers) + " layers");
  }
}

}  // namespace

StoredLayer::StoredLayer(const ModelConfig& config, std::int64_t index) {
  const TensorNames& names = config.names;
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t inner = config.intermediate_size;
  const std::int64_t q_size = config.num_heads * config.head_dim;
  const std::int64_t kv_size = config.num_kv_heads * config.head_dim;
  attention_norm = of_layer(names.attention_norm, index);
  query = {of_layer(names.query, index), q_size, hidden, config.attention_bias};
  key = {of_layer(names.key, index), kv_size, hidden, config.attention_bias};
  value = {of_layer(names.value, index), kv_size, hidden, config.attention_bias};
  attention_out = {of_layer(names.attention_out, index), hidden, q_size, config.attention_bias};
  mlp_norm = of_layer(names.mlp_norm, index);
  gate = {of_layer(names.mlp_gate, index), inner, hidden, config.mlp_bias};
  up = {of_layer(names.mlp_up, index), inner, hidden, config.mlp_bias};
  down = {of_layer(names.mlp_down, index), hidden, inner, config.mlp_bias};
}

void check_tensors(const Checkpoint& checkpoint, const ModelConfig& config) {
  const std::int64_t hidden = config.hidden_size;
  checkpoint.expect(config.names.embedding + ".weight", {config.vocab_size, hidden});
  checkpoint.expect(config.names.final_norm + ".weight", {hidden});
  if (!config.tied_embeddings)
    checkpoint.expect(config.names.lm_head + ".weight", {config.vocab_size, hidden});
  for (std::int64_t index = 0; index < config.num_layers; ++index) {
    const StoredLayer layer(config, index);
    checkpoint.expect(layer.attention_norm + ".weight", {hidden});
    checkpoint.expect(layer.mlp_norm + ".weight", {hidden});
    for (const StoredLinear* linear : {&layer.query, &layer.key, &layer.value, &layer.attention_out,
                                       &layer.gate, &layer.up, &layer.down}) {
      check_linear(checkpoint, *linear);
    }
  }
  refuse_further_layers(checkpoint, config);
}

}  // namespace sinkstream
