// One rank's share of a model: weights, cache and the forward pass.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "kernels/ops.h"
#include "parallel/communicator/communicator.h"
#include "parallel/shard_plan.h"
#include "worker/model/kv_cache.h"
#include "worker/model/model_config.h"
#include "worker/model/qk_norm.h"
#include "worker/model/step_rows.h"
#include "worker/model/weights.h"

namespace sinkstream {

class Model {
 public:
  Model(const ModelConfig& config, const ShardPlan& shard, Weights weights, const KvCacheSizes& cache_sizes,
        std::int64_t max_rows, Communicator& communicator, kernels::Context context);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const ModelConfig& config() const { return config_; }
  const ShardPlan& shard() const { return shard_; }
  KvCache& cache() { return cache_; }

  // Collective: every rank passes the same rows (1 <= rows <= max_rows). The result is the residual stream
  // after the last layer, [rows, hidden], valid until the next forward. Throws std::invalid_argument, before
  // anything is computed, for rows that break ModelRow's rules.
  kernels::ConstMatrix forward(std::span<const ModelRow> rows);

  // This rank's logits of some rows of a forward's result (final norm, LM head), at most max_rows of them.
  // Not collective.   out [selected.size(), local_vocab]
  void logits(kernels::ConstMatrix hidden, std::span<const std::int32_t> selected, kernels::Matrix out);

 private:
  void decoder_layer(std::int64_t index);
  void norm(kernels::ConstMatrix x, const NormWeights& weights, kernels::Matrix out);
  // This rank's part of what a layer's attention and MLP make of `normed`.
  void attention_block(std::int64_t index, kernels::Matrix out);
  void mlp_block(std::int64_t index, kernels::Matrix out);
  // hidden += the sum of `partial` over ranks
  void add_sum_over_ranks();

  ModelConfig config_;
  ShardPlan shard_;
  kernels::HeadShard heads_;
  std::span<const float> alibi_slopes_;           // [local_heads] or empty
  std::optional<SpreadFeatures> queries_, keys_;  // with qk_norm
  Weights weights_;
  KvCache cache_;
  StepRows step_;
  Activations activations_;
  Communicator& communicator_;
  kernels::Context context_;
};

}  // namespace sinkstream
