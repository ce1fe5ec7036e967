#include "worker/model/stored_layer.h"

#include <set>
#include <string_view>

namespace sinkstream {
namespace {

// "model.layers.{}.mlp" -> "model.layers.7.mlp"
std::string of_layer(const std::string& name, std::int64_t layer) {
  std::string result = name;
  return result.replace(result.find("{}"), 2, std::to_string(layer));
}

// What checkpoints of some years hold beside the weights: constants that follow from config.json.
bool is_inert(std::string_view name, const ModelConfig& config) {
  if (name.ends_with(".rotary_emb.inv_freq")) return !config.inverse_frequencies.empty();
  const bool causal_mask = name.ends_with(".attention.bias") || name.ends_with(".attention.masked_bias");
  return causal_mask && config.architecture == "gpt_neox";
}

// Checks tensors one by one and remembers them.
class Checker {
 public:
  Checker(const Checkpoint& checkpoint, const ModelConfig& config)
      : checkpoint_(checkpoint), config_(config) {}

  void expect(const std::string& name, const std::vector<std::int64_t>& shape) {
    checkpoint_.expect(name, shape);
    known_.insert(name);
  }

  void expect(const StoredNorm& norm) {
    expect(norm.name + ".weight", {norm.features});
    expect_bias(norm.name + ".bias", norm.features, norm.bias);
  }

  void expect(const StoredLinear& linear) {
    expect(linear.name + ".weight", {linear.out_features, linear.in_features});
    expect_bias(linear.name + ".bias", linear.out_features, linear.bias);
  }

  void refuse_others() const {
    for (const auto& [name, tensor] : checkpoint_.tensors()) {
      if (known_.contains(name) || is_inert(name, config_)) continue;
      checkpoint_.refuse(name, "is no part of the model that config.json describes");
    }
  }

 private:
  void expect_bias(const std::string& name, std::int64_t features, bool wanted) {
    if (wanted) {
      expect(name, {features});
    } else if (checkpoint_.contains(name)) {
      checkpoint_.refuse(name, "config.json has no bias there");
    }
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  std::set<std::string> known_;
};

void refuse_further_layers(const Checkpoint& checkpoint, const ModelConfig& config) {
  const std::string& pattern = config.names.attention_norm;
  const std::string next_layer = of_layer(pattern.substr(0, pattern.find("{}") + 2) + '.', config.num_layers);
  const auto found = checkpoint.tensors().lower_bound(next_layer);
  if (found != checkpoint.tensors().end() && found->first.starts_with(next_layer)) {
    checkpoint.refuse(found->first, "config.json has only " + std::to_string(config.num_layers) + " layers");
  }
}

// Embedding and LM head. Of a tied pair converters leave the one, the other, or both.
void check_vocabulary(const Checkpoint& checkpoint, const ModelConfig& config, Checker& checker) {
  const std::vector<std::int64_t> shape = {config.vocab_size, config.hidden_size};
  const std::string embedding = config.names.embedding + ".weight";
  const std::string lm_head = config.names.lm_head + ".weight";
  const bool has_embedding = checkpoint.contains(embedding), has_lm_head = checkpoint.contains(lm_head);
  if (!config.tied_embeddings && has_embedding != has_lm_head) {
    checkpoint.refuse(has_embedding ? lm_head : embedding,
                      "missing, though config.json asks for it; if embedding and LM head are one matrix, say "
                      "\"tie_word_embeddings\": true there");
  }
  if (has_embedding || !has_lm_head) checker.expect(embedding, shape);
  if (has_lm_head || !config.tied_embeddings) checker.expect(lm_head, shape);
}

}  // namespace

StoredLayer::StoredLayer(const ModelConfig& config, std::int64_t index) {
  const TensorNames& names = config.names;
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t inner = config.intermediate_size;
  const HeadSizes heads = config.head_sizes();
  const std::int64_t q_size = heads.num_heads * heads.head_dim;
  const std::int64_t kv_size = heads.num_kv_heads * heads.head_dim;
  const std::int64_t query_rows = stored_query_rows(config.qkv_layout, heads);
  const std::int64_t key_rows = stored_key_rows(config.qkv_layout, heads);

  attention_norm = {of_layer(names.attention_norm, index), hidden, config.norm_bias};
  query = {of_layer(names.query, index), query_rows, hidden, config.qkv_bias};
  key = {of_layer(names.key, index), key_rows, hidden, config.qkv_bias};
  value = {of_layer(names.value, index), key_rows, hidden, config.qkv_bias};
  if (config.qk_norm) {
    query_norm = {of_layer(names.query_norm, index), q_size, config.norm_bias};
    key_norm = {of_layer(names.key_norm, index), kv_size, config.norm_bias};
  }
  attention_out = {of_layer(names.attention_out, index), hidden, q_size, config.attention_out_bias};
  if (!config.shared_norm()) mlp_norm = {of_layer(names.mlp_norm, index), hidden, config.norm_bias};
  if (config.gated_mlp()) gate = {of_layer(names.mlp_gate, index), inner, hidden, config.mlp_bias};
  up = {of_layer(names.mlp_up, index), inner, hidden, config.mlp_bias};
  down = {of_layer(names.mlp_down, index), hidden, inner, config.mlp_bias};
}

std::vector<const StoredNorm*> StoredLayer::norms() const {
  std::vector<const StoredNorm*> norms = {&attention_norm};
  for (const auto* norm : {&query_norm, &key_norm, &mlp_norm}) {
    if (*norm) norms.push_back(&**norm);
  }
  return norms;
}

std::vector<const StoredLinear*> StoredLayer::linears() const {
  std::vector<const StoredLinear*> linears = {&query, &key, &value, &attention_out};
  if (gate) linears.push_back(&*gate);
  linears.insert(linears.end(), {&up, &down});
  return linears;
}

StoredLinear stored_embedding(const Checkpoint& checkpoint, const ModelConfig& config) {
  const bool as_lm_head = config.tied_embeddings && !checkpoint.contains(config.names.embedding + ".weight");
  return {as_lm_head ? config.names.lm_head : config.names.embedding, config.vocab_size, config.hidden_size,
          false};
}

StoredLinear stored_lm_head(const ModelConfig& config) {
  return {config.names.lm_head, config.vocab_size, config.hidden_size, false};
}

StoredNorm stored_final_norm(const ModelConfig& config) {
  return {config.names.final_norm, config.hidden_size, config.norm_bias};
}

void check_tensors(const Checkpoint& checkpoint, const ModelConfig& config) {
  Checker checker(checkpoint, config);
  check_vocabulary(checkpoint, config, checker);
  checker.expect(stored_final_norm(config));
  for (std::int64_t index = 0; index < config.num_layers; ++index) {
    const StoredLayer layer(config, index);
    for (const StoredNorm* norm : layer.norms()) checker.expect(*norm);
    for (const StoredLinear* linear : layer.linears()) checker.expect(*linear);
  }
  refuse_further_layers(checkpoint, config);
  checker.refuse_others();
}

}  // namespace sinkstream
