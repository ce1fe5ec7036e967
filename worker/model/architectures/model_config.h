// An architecture is data: this struct of choices, filled in from config.json by one small file for each
// architecture (architectures/), and read by the one forward pass (model.cpp).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/token_id.h"
#include "kernels/types.h"
#include "parallel/shard_plan.h"
#include "worker/model/architectures/qkv_rows.h"

namespace sinkstream {

// The checkpoint's names, each to be followed by ".weight" or ".bias"; "{}" stands for the layer number.
struct TensorNames {
  std::string embedding;
  std::string attention_norm;
  std::string query, key, value;     // of fused projections all the same
  std::string query_norm, key_norm;  // with qk_norm
  std::string attention_out;
  std::string mlp_norm;  // empty: the MLP reads what the attention read
  std::string mlp_gate;  // empty unless gated
  std::string mlp_up, mlp_down;
  std::string final_norm;
  std::string lm_head;
};

using kernels::NormKind;
enum class MlpKind {
  gated_silu,  // down(silu(gate(x)) * up(x))
  gelu,        // down(gelu(up(x)))
  gelu_tanh,   // the same with the tanh approximation
};

struct ModelConfig {
  std::string architecture;  // "llama", "mistral", "qwen2", "mpt", "falcon", "gpt_neox"

  std::int64_t num_layers = 0;
  std::int64_t hidden_size = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t vocab_size = 0;
  std::int64_t trained_context = 0;  // max_position_embeddings
  std::int64_t sliding_window = 0;   // tokens that the model attends to at most; 0: all

  NormKind norm = NormKind::rms;
  bool norm_bias = false;  // of layer norms
  float norm_epsilon = 0;

  // false: x += attention(norm(x)); x += mlp(norm(x)).  true: x += attention(norm(x)) + mlp(norm(x))
  bool parallel_residual = false;
  MlpKind mlp = MlpKind::gated_silu;
  bool qkv_bias = false;
  bool attention_out_bias = false;
  bool mlp_bias = false;
  bool tied_embeddings = false;  // the LM head is the embedding; a checkpoint holds either name or both

  QkvLayout qkv_layout = QkvLayout::separate;
  float qkv_clip = 0;         // queries, keys and values are clipped to +-qkv_clip; 0: not
  bool qk_norm = false;       // a layer norm over all queries, and one over all keys, of a token
  float attention_scale = 0;  // of query . key
  float logit_scale = 1;
  // Either of the two is empty.
  std::vector<float> inverse_frequencies;  // [rotary_dim / 2], rounded to float32, scaling applied
  std::vector<float> alibi_slopes;         // [num_heads], what a score loses for each token of distance

  std::vector<TokenId> end_tokens;  // eos_token_id, any number
  TensorNames names;
  std::uint64_t fingerprint = 0;  // of config.json

  ShardSizes shard_sizes() const { return {num_heads, num_kv_heads, intermediate_size, vocab_size}; }
  HeadSizes head_sizes() const { return {num_heads, num_kv_heads, head_dim}; }
  std::int64_t group_size() const { return num_heads / num_kv_heads; }
  bool gated_mlp() const { return mlp == MlpKind::gated_silu; }
  // The tensors' names of the one matrix of tied embeddings; none where they are not tied.
  std::vector<std::string> tied_tensors() const {
    if (!tied_embeddings) return {};
    return {names.embedding + ".weight", names.lm_head + ".weight"};
  }
  bool shared_norm() const { return names.mlp_norm.empty(); }  // the MLP reads what the attention read
};

// Reads <directory>/config.json (and generation_config.json's end tokens, where there is one). Whatever
// changes the computation and is not supported is refused by name. Throws StartupError (ExitCode::model)
// naming file and key.
ModelConfig read_model_config(const std::filesystem::path& directory);

}  // namespace sinkstream
