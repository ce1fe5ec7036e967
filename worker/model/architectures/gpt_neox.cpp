// GPT-NeoX and Pythia (Black et al. 2022; Biderman et al. 2023).
#include <cmath>

#include "worker/model/architectures/architectures.h"
#include "worker/model/architectures/reading.h"
#include "worker/model/architectures/rotary.h"

namespace sinkstream {

ModelConfig read_gpt_neox(const ConfigSection& file) {
  refuse_foreign_features(file);
  ModelConfig config;
  config.architecture = "gpt_neox";
  read_sizes(file, {}, config);
  config.intermediate_size = file.size("intermediate_size", kMaxWidth);
  config.norm = NormKind::layer;
  config.norm_bias = true;
  config.norm_epsilon = static_cast<float>(file.number_or("layer_norm_eps", 1e-5));
  config.parallel_residual = file.flag_or("use_parallel_residual", true);
  config.mlp = read_gelu(file, "hidden_act");
  config.qkv_bias = config.attention_out_bias = file.flag_or("attention_bias", true);
  config.mlp_bias = true;
  config.tied_embeddings = file.flag_or("tie_word_embeddings", false);
  config.qkv_layout = QkvLayout::grouped;  // with a KV head for each head: query, key, value, query, ...
  config.attention_scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  config.inverse_frequencies = read_inverse_frequencies(
      file, config.head_dim, {.theta = "rotary_emb_base", .part = "rotary_pct", .default_part = 0.25});
  config.names = {
      .embedding = "gpt_neox.embed_in",
      .attention_norm = "gpt_neox.layers.{}.input_layernorm",
      .query = "gpt_neox.layers.{}.attention.query_key_value",
      .key = "gpt_neox.layers.{}.attention.query_key_value",
      .value = "gpt_neox.layers.{}.attention.query_key_value",
      .query_norm = {},
      .key_norm = {},
      .attention_out = "gpt_neox.layers.{}.attention.dense",
      .mlp_norm = "gpt_neox.layers.{}.post_attention_layernorm",
      .mlp_gate = {},
      .mlp_up = "gpt_neox.layers.{}.mlp.dense_h_to_4h",
      .mlp_down = "gpt_neox.layers.{}.mlp.dense_4h_to_h",
      .final_norm = "gpt_neox.final_layer_norm",
      .lm_head = "embed_out",
  };
  return config;
}

}  // namespace sinkstream
