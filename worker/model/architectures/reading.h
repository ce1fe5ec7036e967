// What the architectures' files share when they read config.json.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/model/architectures/config_section.h"
#include "worker/model/architectures/model_config.h"

namespace sinkstream {

// Far beyond any model, near enough that no count of bytes overflows.
inline constexpr std::int64_t kMaxLayers = 10'000;
inline constexpr std::int64_t kMaxHidden = 1 << 20;
inline constexpr std::int64_t kMaxWidth = 1 << 22;  // of the MLP and of all heads together
inline constexpr std::int64_t kMaxHeadDim = 1 << 12;
inline constexpr std::int64_t kMaxVocab = 1 << 24;
inline constexpr std::int64_t kMaxContext = std::int64_t{1} << 40;

// What a family calls its sizes.
struct SizeKeys {
  const char* num_layers = "num_hidden_layers";
  const char* hidden_size = "hidden_size";
  const char* num_heads = "num_attention_heads";
  const char* trained_context = "max_position_embeddings";
  std::int64_t default_context = 2048;
};

// Fills in layers, hidden size, heads, vocabulary and trained context; as many KV heads as heads; and the
// size of a head: "head_dim", or hidden size / heads.
void read_sizes(const ConfigSection& file, const SizeKeys& keys, ModelConfig& config);

// Refuses what changes the computation in other families' ways: quantization, experts, soft caps, ...
void refuse_foreign_features(const ConfigSection& file);

// The kind of an MLP without gate, by the name of its activation.
MlpKind read_gelu(const ConfigSection& file, const char* key);

// Rotary frequencies of a family whose heads turn whole; another part is refused.
std::vector<float> read_whole_rotary(const ConfigSection& file, std::int64_t head_dim);

// Llama and those that differ from it in a few numbers.
ModelConfig read_llama_family(const ConfigSection& file, std::int64_t default_kv_heads);

}  // namespace sinkstream
