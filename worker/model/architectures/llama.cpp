// Llama 1, 2, 3 and 3.1 (Touvron et al. 2023; Grattafiori et al. 2024).
#include "worker/model/architectures/architectures.h"
#include "worker/model/rotary.h"
#include "worker/model/strict_json.h"

namespace sinkstream {
namespace {

// Far beyond any model, near enough that no count of bytes overflows.
constexpr std::int64_t kMaxLayers = 10'000;
constexpr std::int64_t kMaxHidden = 1 << 20;
constexpr std::int64_t kMaxWidth = 1 << 22;  // of the MLP and of all heads together
constexpr std::int64_t kMaxHeadDim = 1 << 12;
constexpr std::int64_t kMaxVocab = 1 << 24;
constexpr std::int64_t kMaxContext = std::int64_t{1} << 40;

constexpr struct {
  const char* key;
  const char* reason;
} kUnsupported[] = {
    {"quantization_config", "quantized checkpoints are not supported; use the original in f32, bf16 or f16"},
    {"compression_config", "quantized checkpoints are not supported; use the original in f32, bf16 or f16"},
    {"sliding_window", "not supported for Llama"},
    {"num_local_experts", "mixtures of experts are not supported"},
};

void refuse_unsupported(const ConfigSection& config) {
  for (const auto& [key, reason] : kUnsupported) config.refuse_if_present(key, reason);
  const std::string activation = config.text_or("hidden_act", "silu");
  if (activation != "silu") config.refuse("hidden_act", in_quotes(activation) + " is not supported; silu is");
  if (config.number_or("partial_rotary_factor", 1.0) != 1.0) {
    config.refuse("partial_rotary_factor", "partial rotary is not supported for Llama");
  }
}

void read_sizes(const ConfigSection& file, ModelConfig& config) {
  config.num_layers = file.size("num_hidden_layers", kMaxLayers);
  config.hidden_size = file.size("hidden_size", kMaxHidden);
  config.num_heads = file.size("num_attention_heads", kMaxWidth);
  config.num_kv_heads = file.size_or("num_key_value_heads", kMaxWidth, config.num_heads);
  config.intermediate_size = file.size("intermediate_size", kMaxWidth);
  config.vocab_size = file.size("vocab_size", kMaxVocab);
  config.trained_context = file.size_or("max_position_embeddings", kMaxContext, 2048);

  if (config.num_heads % config.num_kv_heads != 0) {
    file.refuse("num_key_value_heads", std::to_string(config.num_kv_heads) +
                                           " does not divide num_attention_heads, " +
                                           std::to_string(config.num_heads));
  }
  if (!file.has("head_dim") && config.hidden_size % config.num_heads != 0) {
    file.refuse("hidden_size", std::to_string(config.hidden_size) +
                                   " is not a multiple of num_attention_heads, " +
                                   std::to_string(config.num_heads) + ", and head_dim is not given");
  }
  config.head_dim = file.size_or("head_dim", kMaxHeadDim, config.hidden_size / config.num_heads);
  if (config.head_dim % 2 != 0 || config.head_dim > kMaxHeadDim) {
    file.refuse("head_dim", "must be even and at most " + std::to_string(kMaxHeadDim) + ", not " +
                                std::to_string(config.head_dim));
  }
  if (config.num_heads * config.head_dim > kMaxWidth) {
    file.refuse("num_attention_heads", "with head_dim more than " + std::to_string(kMaxWidth) + " features");
  }
}

}  // namespace

ModelConfig read_llama(const ConfigSection& file) {
  refuse_unsupported(file);
  ModelConfig config;
  config.architecture = "llama";
  read_sizes(file, config);
  config.norm_epsilon = static_cast<float>(file.number_or("rms_norm_eps", 1e-6));
  config.attention_bias = file.flag_or("attention_bias", false);
  config.mlp_bias = file.flag_or("mlp_bias", false);
  config.tied_embeddings = file.flag_or("tie_word_embeddings", false);
  config.inverse_frequencies = read_inverse_frequencies(file, config.head_dim);
  config.names = {
      .embedding = "model.embed_tokens",
      .attention_norm = "model.layers.{}.input_layernorm",
      .query = "model.layers.{}.self_attn.q_proj",
      .key = "model.layers.{}.self_attn.k_proj",
      .value = "model.layers.{}.self_attn.v_proj",
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

}  // namespace sinkstream
