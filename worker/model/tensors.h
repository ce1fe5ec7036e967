// All weights and activations of a rank, with their shapes. Sizes named local_* are this rank's share.
//
//   local_heads, local_kv_heads, local_mlp, local_vocab   from the ShardPlan
//   local_q  = local_heads * head_dim          local_kv = local_kv_heads * head_dim
//   local_qkv = local_q + 2 * local_kv         local_up = local_mlp, or 2 * local_mlp if gated
//   rows = tokens in this step                 outputs = those of them whose logits are wanted,
//   kOutputsAtOnce at most ranks = of the group
// All of it is in the backend's memory.
#pragma once

#include <functional>
#include <vector>

#include "kernels/backend.h"
#include "parallel/shard_plan.h"
#include "worker/model/architectures/model_config.h"
#include "worker/model/checkpoint/checkpoint.h"

namespace sinkstream {

struct LinearWeights {
  kernels::Weight weight;  // [out_features, in_features]
  kernels::Vector bias;    // [out_features] or empty
};

struct LayerWeights {
  kernels::Norm attention_norm;  // [hidden]
  LinearWeights qkv;             // [local_qkv, hidden]  rows: queries, keys, values; split by heads
  kernels::Norm query_norm;      // [local_q]   with qk_norm; split by heads
  kernels::Norm key_norm;        // [local_kv]  with qk_norm; split by heads
  LinearWeights attention_out;   // [hidden, local_q]    split by input columns; bias: leader only
  kernels::Norm mlp_norm;        // [hidden]    none if the MLP reads what the attention read
  LinearWeights mlp_up;          // [local_up, hidden]   rows: gate (if gated), up; split by output rows
  LinearWeights mlp_down;        // [hidden, local_mlp]  split by input columns; bias: leader only
};

struct Weights {
  LinearWeights embedding;               // [local_vocab, hidden]  split by vocabulary
  std::vector<LayerWeights> layers;      // [num_layers]
  kernels::Norm final_norm;              // [hidden]
  LinearWeights lm_head;                 // [local_vocab, hidden]  split by vocabulary; may be the embedding
  std::vector<kernels::Buffer> vectors;  // memory of norms and biases
};

// Rows whose logits are held at once: bounds their memory when a long prompt is scored.
inline constexpr std::int64_t kOutputsAtOnce = 32;

// Allocated once for `max_rows`; a step uses the first rows of each.
struct Activations {
  kernels::Matrix hidden;        // [rows, hidden]         the residual stream
  kernels::Matrix normed;        // [rows, hidden]         of the next attention, MLP or LM head
  kernels::Matrix qkv;           // [rows, local_qkv]
  kernels::Matrix window_query;  // [rows, local_q]        rotated at the true position
  kernels::Matrix sink_query;    // [rows, local_q]        rotated at the position within the cache
  kernels::Matrix attention;     // [rows, local_q]
  kernels::Matrix partial;       // [rows, hidden]         this rank's part of a sum over ranks
  kernels::Matrix mlp_partial;   // [rows, hidden]         parallel residual only: the MLP's share of it
  kernels::Matrix mlp_up;        // [rows, local_up]
  kernels::Matrix mlp;           // [rows, local_mlp]
  kernels::Matrix
      moments;  // [rows, 2]              with qk_norm: mean and squares of own columns, then of all
  kernels::Matrix all_moments;   // [ranks * rows, 2]      with qk_norm
  kernels::RotaryAngles angles;  // [rows, rotary_dim / 2] each
  kernels::Matrix selected;      // [outputs, hidden]
  kernels::Matrix logits;        // [outputs, local_vocab]

  std::int64_t max_rows = 0;
  int ranks = 1;
  kernels::Buffer memory;

  void set_rows(std::int64_t rows);  // of this step, at most max_rows
};

Activations allocate_activations(const ModelConfig& config, const ShardPlan& shard, std::int64_t max_rows,
                                 kernels::Backend& backend);

// The format of embedding and LM head: what is quantized to 4 bits elsewhere keeps 8 there, where each weight
// matters more.
kernels::WeightFormat vocabulary_format(kernels::WeightFormat format);

// Backend::packed_bytes, or what stands for it where there is no backend yet.
using PackedBytes = std::function<std::int64_t(const kernels::WeightShape&)>;

// Bytes of weights and of activations that a rank holds, without loading any.
std::int64_t weight_bytes(const ModelConfig& config, const ShardPlan& shard, kernels::WeightFormat format,
                          const PackedBytes& packed_bytes);
std::int64_t activation_bytes(const ModelConfig& config, const ShardPlan& shard, std::int64_t max_rows);

// Reads this rank's slices only and packs them. `progress(done_bytes, total_bytes)` is called after each
// part. Throws StartupError (ExitCode::model) that names the tensor.
Weights load_weights(const Checkpoint& checkpoint, const ModelConfig& config, const ShardPlan& shard,
                     kernels::WeightFormat format, kernels::Backend& backend,
                     const std::function<void(std::int64_t, std::int64_t)>& progress);

}  // namespace sinkstream
