// MPT (MosaicML 2023): ALiBi, and projections fused into Wqkv. `attn_config` holds what attention does.
#include <cmath>
#include <string>

#include "worker/model/architectures/alibi.h"
#include "worker/model/architectures/architectures.h"
#include "worker/model/architectures/reading.h"

namespace sinkstream {
namespace {

constexpr const char* kChanges = "changes what the model computes and is not supported for MPT";

void refuse_unsupported(const ConfigSection& file, const ConfigSection& attention) {
  refuse_foreign_features(file);
  if (!attention.flag_or("alibi", true)) {
    attention.refuse("alibi",
                     "must be true: without it MPT has learned positions, which end at max_seq_len, so no "
                     "session could be endless");
  }
  for (const char* const key : {"attn_logit_softcapping", "attn_uses_sequence_id", "flex_attn_mod_list",
                                "prefix_lm", "qk_gn", "reuse_kv_layer_idx", "rope", "sliding_window_size"}) {
    attention.refuse_if_set(key, kChanges);
  }
  attention.accept_only("attn_type",
                        {"multihead_attention", "multiquery_attention", "grouped_query_attention"});
  file.accept_only("norm_type", {"low_precision_layernorm", "layernorm"});
  file.refuse_if_set("block_overrides", kChanges);
  file.section_or_empty("ffn_config").accept_only("ffn_type", {"mptmlp"});
}

MlpKind read_mlp(const ConfigSection& file) {
  const ConfigSection activation = file.section_or_empty("ffn_config").section_or_empty("ffn_act_fn");
  activation.accept_only("name", {"gelu"});
  activation.accept_only("approximate", {"none", "tanh"});
  return activation.text_or("approximate", "none") == "tanh" ? MlpKind::gelu_tanh : MlpKind::gelu;
}

std::int64_t read_kv_heads(const ConfigSection& attention, std::int64_t num_heads) {
  const std::string type = attention.text_or("attn_type", "multihead_attention");
  if (type == "multiquery_attention") return 1;
  const std::int64_t num_kv_heads = attention.size_or("kv_n_heads", kMaxWidth, num_heads);
  if (num_heads % num_kv_heads != 0) {
    attention.refuse("kv_n_heads",
                     std::to_string(num_kv_heads) + " does not divide n_heads, " + std::to_string(num_heads));
  }
  return num_kv_heads;
}

std::int64_t read_intermediate_size(const ConfigSection& file, std::int64_t hidden_size) {
  const ConfigSection ffn = file.section_or_empty("ffn_config");
  if (ffn.has("ffn_hidden_size")) return ffn.size("ffn_hidden_size", kMaxWidth);
  const double size = file.number_or("expansion_ratio", 4.0) * static_cast<double>(hidden_size);
  if (size < 1 || size > kMaxWidth || size != std::floor(size)) {
    file.refuse("expansion_ratio",
                "makes no whole number of features from 1 to " + std::to_string(kMaxWidth));
  }
  return static_cast<std::int64_t>(size);
}

// A number, or by which rule to make one.
float read_logit_scale(const ConfigSection& file, std::int64_t hidden_size) {
  if (!file.has("logit_scale")) return 1.0f;
  if (file.is_number("logit_scale")) return static_cast<float>(file.number("logit_scale"));
  file.accept_only("logit_scale", {"inv_sqrt_d_model"});
  return 1.0f / std::sqrt(static_cast<float>(hidden_size));
}

}  // namespace

ModelConfig read_mpt(const ConfigSection& file) {
  const ConfigSection attention = file.section_or_empty("attn_config");
  refuse_unsupported(file, attention);
  ModelConfig config;
  config.architecture = "mpt";
  read_sizes(file,
             {.num_layers = "n_layers",
              .hidden_size = "d_model",
              .num_heads = "n_heads",
              .trained_context = "max_seq_len"},
             config);
  config.num_kv_heads = read_kv_heads(attention, config.num_heads);
  config.intermediate_size = read_intermediate_size(file, config.hidden_size);
  const bool biases = !file.flag_or("no_bias", true);
  config.norm = NormKind::layer;
  config.norm_bias = biases;
  config.norm_epsilon =
      static_cast<float>(file.number_or(file.first_of({"layer_norm_epsilon", "norm_eps"}), 1e-5));
  config.mlp = read_mlp(file);
  config.qkv_bias = config.attention_out_bias = config.mlp_bias = biases;
  config.tied_embeddings = file.flag_or("tie_word_embeddings", true);
  config.qkv_layout = QkvLayout::stacked;
  config.qkv_clip = attention.has("clip_qkv") ? static_cast<float>(attention.number("clip_qkv")) : 0.0f;
  config.qk_norm = attention.flag_or("qk_ln", false);
  config.attention_scale = static_cast<float>(
      attention.number_or("softmax_scale", 1.0 / std::sqrt(static_cast<double>(config.head_dim))));
  config.logit_scale = read_logit_scale(file, config.hidden_size);
  config.alibi_slopes = mpt_alibi_slopes(config.num_heads, attention.number_or("alibi_bias_max", 8.0));
  config.names = {
      .embedding = "transformer.wte",
      .attention_norm = "transformer.blocks.{}.norm_1",
      .query = "transformer.blocks.{}.attn.Wqkv",
      .key = "transformer.blocks.{}.attn.Wqkv",
      .value = "transformer.blocks.{}.attn.Wqkv",
      .query_norm = "transformer.blocks.{}.attn.q_ln",
      .key_norm = "transformer.blocks.{}.attn.k_ln",
      .attention_out = "transformer.blocks.{}.attn.out_proj",
      .mlp_norm = "transformer.blocks.{}.norm_2",
      .mlp_gate = {},
      .mlp_up = "transformer.blocks.{}.ffn.up_proj",
      .mlp_down = "transformer.blocks.{}.ffn.down_proj",
      .final_norm = "transformer.norm_f",
      .lm_head = "lm_head",
  };
  return config;
}

}  // namespace sinkstream
