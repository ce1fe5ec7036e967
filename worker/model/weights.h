// All weights and activations of a rank, with their shapes. Sizes named local_* are this rank's share.
//
//   local_heads, local_kv_heads, local_mlp, local_vocab   from the ShardPlan
//   local_q  = local_heads * head_dim          local_kv = local_kv_heads * head_dim
//   local_qkv = local_q + 2 * local_kv         local_up = local_mlp, or 2 * local_mlp if gated
//   rows = tokens in this step
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/types.h"
#include "parallel/shard_plan.h"
#include "worker/model/checkpoint.h"
#include "worker/model/model_config.h"

namespace sinkstream {

struct LinearWeights {
  kernels::WeightView weight;  // [out_features, in_features]
  std::vector<float> bias;     // [out_features] or empty
  std::shared_ptr<void> storage;
};

struct NormWeights {
  std::vector<float> weight;  // [features]
  std::vector<float> bias;    // [features] or empty
};

struct LayerWeights {
  NormWeights attention_norm;   // [hidden]
  LinearWeights qkv;            // [local_qkv, hidden]  rows: queries, keys, values; split by heads
  NormWeights query_norm;       // [local_q]   with qk_norm; split by heads
  NormWeights key_norm;         // [local_kv]  with qk_norm; split by heads
  LinearWeights attention_out;  // [hidden, local_q]    split by input columns; bias: leader only
  NormWeights mlp_norm;         // [hidden]    none if the MLP reads what the attention read
  LinearWeights mlp_up;         // [local_up, hidden]   rows: gate (if gated), up; split by output rows
  LinearWeights mlp_down;       // [hidden, local_mlp]  split by input columns; bias: leader only
};

struct Weights {
  LinearWeights embedding;           // [local_vocab, hidden]  split by vocabulary
  std::vector<LayerWeights> layers;  // [num_layers]
  NormWeights final_norm;            // [hidden]
  LinearWeights lm_head;             // [local_vocab, hidden]  split by vocabulary; may be the embedding
};

// Allocated once for `max_rows`; a step uses the first rows of each.
struct Activations {
  Activations(const ModelConfig& config, const ShardPlan& shard, std::int64_t max_rows);
  Activations(const Activations&) = delete;
  Activations& operator=(const Activations&) = delete;
  void set_rows(std::int64_t rows);  // at most max_rows
  std::int64_t max_rows() const { return max_rows_; }
  std::int64_t columns();  // of all matrices together

  kernels::Matrix hidden;        // [rows, hidden]         the residual stream
  kernels::Matrix normed;        // [rows, hidden]
  kernels::Matrix qkv;           // [rows, local_qkv]
  kernels::Matrix window_query;  // [rows, local_q]        rotated at the true position
  kernels::Matrix sink_query;    // [rows, local_q]        rotated at the position within the cache
  kernels::Matrix key;           // [rows, local_kv]       rotated at the true position
  kernels::Matrix attention;     // [rows, local_q]
  kernels::Matrix partial;       // [rows, hidden]         this rank's part of a sum over ranks
  kernels::Matrix mlp_partial;   // [rows, hidden]         parallel residual only: the MLP's share of it
  kernels::Matrix mlp_up;        // [rows, local_up]
  kernels::Matrix mlp;           // [rows, local_mlp]
  kernels::Matrix query_moments, key_moments;  // [rows, 2]  with qk_norm
  kernels::Matrix true_cosines, true_sines;    // [rows, rotary_dim / 2]  of the true positions
  kernels::Matrix cache_cosines, cache_sines;  // [rows, rotary_dim / 2]  of the positions within the cache

 private:
  std::array<kernels::Matrix*, 17> all();
  std::int64_t max_rows_;
  std::vector<float> memory_;
};

// Bytes of weights and of activations that a rank holds, without loading any.
std::int64_t weight_bytes(const ModelConfig& config, const ShardPlan& shard, kernels::DType dtype);
std::int64_t activation_bytes(const ModelConfig& config, const ShardPlan& shard, std::int64_t max_rows);

// Reads this rank's slices only. `progress(done_bytes, total_bytes)` is called after each tensor.
// Throws StartupError (ExitCode::model) that names the tensor.
Weights load_weights(const Checkpoint& checkpoint, const ModelConfig& config, const ShardPlan& shard,
                     kernels::DType dtype, const std::function<void(std::int64_t, std::int64_t)>& progress);

}  // namespace sinkstream
