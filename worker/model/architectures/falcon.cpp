// Falcon (Almazrouei et al. 2023) in its three styles: 7B (one KV head, attention and MLP side by side), 40B
// (groups of heads, a norm for each side) and RW (ALiBi, one after the other, biases).
#include <cmath>
#include <string>

#include "worker/model/architectures/alibi.h"
#include "worker/model/architectures/architectures.h"
#include "worker/model/architectures/reading.h"

namespace sinkstream {
namespace {

// The first 40B files do not say new_decoder_architecture, but have a model type of their own.
bool has_new_architecture(const ConfigSection& file) {
  return file.flag_or("new_decoder_architecture", file.text("model_type") == "RefinedWeb");
}

std::int64_t read_kv_heads(const ConfigSection& file, bool new_architecture, std::int64_t num_heads) {
  if (!new_architecture) return file.flag_or("multi_query", true) ? 1 : num_heads;
  const char* const key = file.first_of({"num_kv_heads", "n_head_kv"});
  const std::int64_t num_kv_heads = file.size_or(key, kMaxWidth, num_heads);
  if (num_heads % num_kv_heads != 0) {
    file.refuse(key, std::to_string(num_kv_heads) + " does not divide the number of heads, " +
                         std::to_string(num_heads));
  }
  return num_kv_heads;
}

// Two norms, of attention and MLP, beside each other; or one that both read; or one before each in turn.
void name_norms(const ConfigSection& file, bool new_architecture, ModelConfig& config) {
  constexpr std::int64_t kMostNorms = 2;
  const std::string layer = "transformer.h.{}.";
  const bool two_norms =
      new_architecture && file.size_or("num_ln_in_parallel_attn", kMostNorms, kMostNorms) == kMostNorms;
  config.names.attention_norm = layer + (two_norms ? "ln_attn" : "input_layernorm");
  if (two_norms) {
    config.names.mlp_norm = layer + "ln_mlp";
  } else if (!config.parallel_residual) {
    config.names.mlp_norm = layer + "post_attention_layernorm";
  }
}

}  // namespace

ModelConfig read_falcon(const ConfigSection& file) {
  refuse_foreign_features(file);
  file.refuse_if_set("apply_residual_connection_post_layernorm", "not supported for Falcon");
  const bool new_architecture = has_new_architecture(file);
  ModelConfig config;
  config.architecture = "falcon";
  read_sizes(file,
             {.num_layers = file.first_of({"num_hidden_layers", "n_layer"}),
              .hidden_size = file.first_of({"n_embed", "hidden_size"}),
              .num_heads = file.first_of({"num_attention_heads", "n_head"})},
             config);
  config.num_kv_heads = read_kv_heads(file, new_architecture, config.num_heads);
  config.intermediate_size = file.size_or("ffn_hidden_size", kMaxWidth, 4 * config.hidden_size);
  config.norm = NormKind::layer;
  config.norm_bias = true;
  config.norm_epsilon = static_cast<float>(file.number_or("layer_norm_epsilon", 1e-5));
  config.parallel_residual = new_architecture || file.flag_or("parallel_attn", true);
  config.mlp = read_gelu(file, "activation");
  config.qkv_bias = config.attention_out_bias = config.mlp_bias = file.flag_or("bias", false);
  config.tied_embeddings = file.flag_or("tie_word_embeddings", true);
  config.qkv_layout = QkvLayout::grouped;
  config.attention_scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  if (file.flag_or("alibi", false)) {
    config.alibi_slopes =
        falcon_alibi_slopes(config.num_heads, 1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  } else {
    config.inverse_frequencies = read_whole_rotary(file, config.head_dim);
  }
  config.names = {
      .embedding = "transformer.word_embeddings",
      .attention_norm = {},
      .query = "transformer.h.{}.self_attention.query_key_value",
      .key = "transformer.h.{}.self_attention.query_key_value",
      .value = "transformer.h.{}.self_attention.query_key_value",
      .query_norm = {},
      .key_norm = {},
      .attention_out = "transformer.h.{}.self_attention.dense",
      .mlp_norm = {},
      .mlp_gate = {},
      .mlp_up = "transformer.h.{}.mlp.dense_h_to_4h",
      .mlp_down = "transformer.h.{}.mlp.dense_4h_to_h",
      .final_norm = "transformer.ln_f",
      .lm_head = "lm_head",
  };
  name_norms(file, new_architecture, config);
  return config;
}

}  // namespace sinkstream
