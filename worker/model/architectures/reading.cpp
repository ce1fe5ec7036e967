#include "worker/model/architectures/reading.h"

#include <string>

#include "worker/model/architectures/rotary.h"

namespace sinkstream {
namespace {

constexpr const char* kQuantized =
    "quantized checkpoints are not supported; use the original in f32, bf16 or f16 (model.weights chooses "
    "the type in memory)";
constexpr const char* kExperts = "mixtures of experts are not supported";
constexpr const char* kChanges = "changes what the model computes and is not supported";

constexpr struct {
  const char* key;
  const char* reason;
} kForeignFeatures[] = {
    {"quantization_config", kQuantized},
    {"compression_config", kQuantized},
    {"num_local_experts", kExperts},
    {"num_experts", kExperts},
    {"n_routed_experts", kExperts},
    {"moe_num_experts", kExperts},
    {"add_cross_attention", kChanges},
    {"attention_chunk_size", kChanges},
    {"attention_multiplier", kChanges},
    {"attn_logit_softcapping", kChanges},
    {"embedding_multiplier", kChanges},
    {"final_logit_softcapping", kChanges},
    {"interleaved_rope", kChanges},
    {"is_encoder_decoder", kChanges},
    {"kv_lora_rank", kChanges},
    {"logits_scaling", kChanges},
    {"no_rope_layer_interval", kChanges},
    {"no_rope_layers", kChanges},
    {"prefix_lm", kChanges},
    {"qk_layernorm", kChanges},
    {"qk_norm", kChanges},
    {"quant_method", kQuantized},
    {"quantization", kQuantized},
    {"query_pre_attn_scalar", kChanges},
    {"residual_multiplier", kChanges},
    {"rope_interleaved", kChanges},
    {"scale_attn_by_inverse_layer_idx", kChanges},
    {"scale_emb", kChanges},
    {"text_config", "models of more than text are not supported"},
    {"use_qk_norm", kChanges},
    {"vision_config", "models of more than text are not supported"},
};

}  // namespace

void read_sizes(const ConfigSection& file, const SizeKeys& keys, ModelConfig& config) {
  config.num_layers = file.size(keys.num_layers, kMaxLayers);
  config.hidden_size = file.size(keys.hidden_size, kMaxHidden);
  config.num_heads = file.size(keys.num_heads, kMaxWidth);
  config.num_kv_heads = config.num_heads;
  config.vocab_size = file.size("vocab_size", kMaxVocab);
  config.trained_context = file.size_or(keys.trained_context, kMaxContext, keys.default_context);

  if (!file.has("head_dim") && config.hidden_size % config.num_heads != 0) {
    file.refuse(keys.hidden_size, std::to_string(config.hidden_size) + " is not a multiple of " +
                                      keys.num_heads + ", " + std::to_string(config.num_heads) +
                                      ", and head_dim is not given");
  }
  config.head_dim = file.size_or("head_dim", kMaxHeadDim, config.hidden_size / config.num_heads);
  if (config.head_dim > kMaxHeadDim) {
    file.refuse(keys.num_heads, "makes heads of more than " + std::to_string(kMaxHeadDim) + " features");
  }
  if (config.num_heads * config.head_dim > kMaxWidth) {
    file.refuse(keys.num_heads, "with head_dim more than " + std::to_string(kMaxWidth) + " features");
  }
}

void refuse_foreign_features(const ConfigSection& file) {
  for (const auto& [key, reason] : kForeignFeatures) file.refuse_if_set(key, reason);
}

MlpKind read_gelu(const ConfigSection& file, const char* key) {
  file.accept_only(key, {"gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"});
  const std::string name = file.text_or(key, "gelu");
  return name == "gelu" || name == "gelu_python" ? MlpKind::gelu : MlpKind::gelu_tanh;
}

std::vector<float> read_whole_rotary(const ConfigSection& file, std::int64_t head_dim) {
  auto frequencies = read_inverse_frequencies(file, head_dim);
  if (2 * std::ssize(frequencies) != head_dim) {
    file.refuse("partial_rotary_factor", "partial rotary is not supported for this architecture");
  }
  return frequencies;
}

}  // namespace sinkstream
