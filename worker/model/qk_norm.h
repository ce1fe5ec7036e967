// A layer norm over all queries, or all keys, of a token, of which each rank holds some heads: the ranks
// exchange what they have measured of their own.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/ops.h"
#include "parallel/communicator/communicator.h"
#include "parallel/shard_plan.h"
#include "worker/model/model_config.h"
#include "worker/model/weights.h"

namespace sinkstream {

// Where a rank's queries or keys stand in its qkv matrix. KV heads that lower ranks hold too are not its own.
struct SpreadFeatures {
  std::int64_t first_column = 0;
  Range own;                         // columns that count for this rank; may be empty
  std::vector<std::int64_t> counts;  // [ranks] how many count for each
};

SpreadFeatures query_features(const ModelConfig& config, const ShardPlan& shard);
SpreadFeatures key_features(const ModelConfig& config, const ShardPlan& shard);

// What normalize_columns needs, from the ranks' moments combined in rank order (Chan et al. 1979).
//   moments [ranks, rows, 2], counts [ranks], statistics [rows, 2]
void combine_moments(std::span<const float> moments, std::span<const std::int64_t> counts, float epsilon,
                     kernels::Matrix statistics);

// Collective. Normalizes these features of every row of `qkv`; `moments` [rows, 2] is room for work.
void spread_layer_norm(kernels::Context& context, Communicator& communicator, const SpreadFeatures& features,
                       const NormWeights& norm, float epsilon, kernels::Matrix moments, kernels::Matrix qkv);

}  // namespace sinkstream
