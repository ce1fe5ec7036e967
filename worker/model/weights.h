// All weights and activations of a rank, with their shapes. Sizes named local_* are this rank's share.
//
//   local_heads, local_kv_heads, local_mlp, local_vocab   from the ShardPlan
//   local_q  = local_heads * head_dim          local_kv = local_kv_heads * head_dim
//   local_qkv = local_q + 2 * local_kv         rows     = tokens in this step
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

struct LayerWeights {
  std::vector<float> attention_norm;  // [hidden]
  LinearWeights qkv;                  // [local_qkv, hidden]      rows: queries, keys, values; split by heads
  LinearWeights attention_out;        // [hidden, local_q]        split by input columns; bias: leader only
  std::vector<float> mlp_norm;        // [hidden]
  LinearWeights gate_up;              // [2 * local_mlp, hidden]  rows: gate, up; split by output rows
  LinearWeights mlp_down;             // [hidden, local_mlp]      split by input columns; bias: leader only
};

struct Weights {
  LinearWeights embedding;           // [local_vocab, hidden]  split by vocabulary
  std::vector<LayerWeights> layers;  // [num_layers]
  std::vector<float> final_norm;     // [hidden]
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
  kernels::Matrix gate_up;       // [rows, 2 * local_mlp]
  kernels::Matrix mlp;           // [rows, local_mlp]
  kernels::Matrix true_cosines, true_sines;    // [rows, rotary_dim / 2]  of the true positions
  kernels::Matrix cache_cosines, cache_sines;  // [rows, rotary_dim / 2]  of the positions within the cache

 private:
  std::array<kernels::Matrix*, 14> all();
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
