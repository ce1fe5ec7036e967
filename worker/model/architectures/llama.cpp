// Llama 1, 2, 3 and 3.1 (Touvron et al. 2023; Grattafiori et al. 2024).
#include <cmath>
#include <string>

#include "worker/model/architectures/architectures.h"
#include "worker/model/architectures/reading.h"

namespace sinkstream {

ModelConfig read_llama_family(const ConfigSection& file, std::int64_t default_kv_heads) {
  refuse_foreign_features(file);
  for (const char* const key : {"alibi", "clip_qkv", "logit_scale"}) {
    file.refuse_if_set(key, "not supported for this architecture");
  }
  file.accept_only_texts("layer_types", {"full_attention"});
  file.accept_only("hidden_act", {"silu", "swish"});
  ModelConfig config;
  read_sizes(file, {}, config);
  config.num_kv_heads = file.size_or("num_key_value_heads", kMaxWidth,
                                     default_kv_heads == 0 ? config.num_heads : default_kv_heads);
  if (config.num_heads % config.num_kv_heads != 0) {
    file.refuse("num_key_value_heads", std::to_string(config.num_kv_heads) +
                                           " does not divide num_attention_heads, " +
                                           std::to_string(config.num_heads));
  }
  if (config.head_dim % 2 != 0) {
    file.refuse("head_dim", "must be even, not " + std::to_string(config.head_dim));
  }
  config.intermediate_size = file.size("intermediate_size", kMaxWidth);
  config.norm = NormKind::rms;
  config.norm_epsilon = static_cast<float>(file.number_or("rms_norm_eps", 1e-6));
  config.mlp = MlpKind::gated_silu;
  config.tied_embeddings = file.flag_or("tie_word_embeddings", false);
  config.attention_scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  config.inverse_frequencies = read_whole_rotary(file, config.head_dim);
  config.names = {
      .embedding = "model.embed_tokens",
      .attention_norm = "model.layers.{}.input_layernorm",
      .query = "model.layers.{}.self_attn.q_proj",
      .key = "model.layers.{}.self_attn.k_proj",
      .value = "model.layers.{}.self_attn.v_proj",
      .query_norm = {},
      .key_norm = {},
      .attention_out = "model.layers.{}.self_attn.o_proj",
      .mlp_norm = "model.layers.{}.post_attention_layernorm",
      .mlp_gate = "model.layers.{}.mlp.gate_proj",
      .mlp_up = "model.layers.{}.mlp.up_proj",
      .mlp_down = "model.layers.{}.mlp.down_proj",
      .final_norm = "model.norm",
      .lm_head = "lm_head",
  };
  return config;
}

ModelConfig read_llama(const ConfigSection& file) {
  if (file.flag_or("use_sliding_window", true))
    file.refuse_if_set("sliding_window", "not supported for Llama");
  ModelConfig config = read_llama_family(file, 0);
  config.architecture = "llama";
  config.qkv_bias = config.attention_out_bias = file.flag_or("attention_bias", false);
  config.mlp_bias = file.flag_or("mlp_bias", false);
  return config;
}

}  // namespace sinkstream
