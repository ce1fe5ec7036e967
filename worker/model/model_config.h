// An architecture is data: this struct of choices, filled in from config.json by one small file for each
// architecture (architectures/), and read by the one forward loop (forward.cpp).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "parallel/shard_plan.h"
#include "worker/token_id.h"

namespace sinkstream {

// The checkpoint's names, each to be followed by ".weight" or ".bias"; "{}" stands for the layer number.
struct TensorNames {
  std::string embedding;
  std::string attention_norm;
  std::string query, key, value;
  std::string attention_out;
  std::string mlp_norm;
  std::string mlp_gate, mlp_up, mlp_down;
  std::string final_norm;
  std::string lm_head;
};

struct ModelConfig {
  std::string architecture;  // "llama"

  std::int64_t num_layers = 0;
  std::int64_t hidden_size = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t vocab_size = 0;
  std::int64_t trained_context = 0;  // max_position_embeddings

  float norm_epsilon = 0;
  bool attention_bias = false;  // on q, k, v and out
  bool mlp_bias = false;
  bool tied_embeddings = false;            // the LM head is the embedding
  std::vector<float> inverse_frequencies;  // [rotary_dim / 2], rounded to float32, scaling applied

  std::vector<TokenId> begin_tokens;  // bos_token_id, none or one
  std::vector<TokenId> end_tokens;    // eos_token_id, any number
  TensorNames names;

  ShardSizes shard_sizes() const { return {num_heads, num_kv_heads, intermediate_size, vocab_size}; }
  std::int64_t group_size() const { return num_heads / num_kv_heads; }
};

// Reads <directory>/config.json (and generation_config.json's end tokens, where there is one). Whatever
// changes the computation and is not supported is refused by name. Throws StartupError (ExitCode::model)
// naming file and key.
ModelConfig read_model_config(const std::filesystem::path& directory);

}  // namespace sinkstream
