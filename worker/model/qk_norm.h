// A layer norm over all queries, or all keys, of a token, of which each rank holds some heads: the ranks
// exchange what they have measured of their own.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device_array.h"
#include "parallel/shard_plan.h"
#include "worker/model/architectures/model_config.h"

namespace sinkstream {

// Where a rank's queries or keys stand in its qkv matrix. KV heads that lower ranks hold too are not its own.
struct SpreadFeatures {
  std::int64_t first_column = 0;
  Range own;                         // columns that count for this rank; may be empty
  std::vector<std::int64_t> counts;  // [ranks] how many count for each
};

SpreadFeatures query_features(const ModelConfig& config, const ShardPlan& shard);
SpreadFeatures key_features(const ModelConfig& config, const ShardPlan& shard);

// Collective. Normalizes these features of every row of `qkv`.
//   counts [ranks] in the backend's memory; moments [rows, 2], all_moments [ranks * rows, 2]: room for work
struct SpreadNorm {
  SpreadFeatures features;
  kernels::DeviceArray<std::int64_t> counts;

  SpreadNorm(SpreadFeatures spread_features, kernels::Backend& backend);
  void apply(const kernels::Norm& norm, kernels::Matrix moments, kernels::Matrix all_moments,
             kernels::Matrix qkv, kernels::Backend& backend) const;
};

}  // namespace sinkstream
