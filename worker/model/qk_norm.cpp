#include "worker/model/qk_norm.h"

#include <functional>
#include <utility>

#include "worker/model/local_sizes.h"

namespace sinkstream {
namespace {

// Heads counted by `own_heads` of each rank's plan, as features.
std::vector<std::int64_t> count_features(const ModelConfig& config, int ranks,
                                         const std::function<Range(const ShardPlan&)>& own_heads) {
  std::vector<std::int64_t> counts;
  for (int rank = 0; rank < ranks; ++rank) {
    const ShardPlan plan = make_shard_plan(config.shard_sizes(), ranks, rank);
    counts.push_back(own_heads(plan).size() * config.head_dim);
  }
  return counts;
}

}  // namespace

SpreadFeatures query_features(const ModelConfig& config, const ShardPlan& shard) {
  return {0,
          {0, LocalSizes(config, shard).q},
          count_features(config, shard.world_size, [](const ShardPlan& plan) { return plan.heads; })};
}

SpreadFeatures key_features(const ModelConfig& config, const ShardPlan& shard) {
  const std::int64_t first_column = LocalSizes(config, shard).q;
  const Range own = shard.own_kv_heads;
  const auto column_of = [&](std::int64_t kv_head) {
    return first_column + (kv_head - shard.kv_heads.begin) * config.head_dim;
  };
  return {first_column,
          {column_of(own.begin), column_of(own.end)},
          count_features(config, shard.world_size, [](const ShardPlan& plan) { return plan.own_kv_heads; })};
}

SpreadNorm::SpreadNorm(SpreadFeatures spread_features, kernels::Backend& backend)
    : features(std::move(spread_features)),
      counts(kernels::upload_array<std::int64_t>(backend, features.counts, "counts of normalized features")) {
}

void SpreadNorm::apply(const kernels::Norm& norm, kernels::Matrix moments, kernels::Matrix all_moments,
                       kernels::Matrix qkv, kernels::Backend& backend) const {
  backend.row_moments(qkv, features.own.begin, features.own.size(), moments);
  backend.gather_over_ranks(moments, all_moments);
  backend.combine_moments(all_moments, counts.span, norm.epsilon, moments);
  backend.normalize_columns(moments, norm.weight, norm.bias, features.first_column, qkv);
}

}  // namespace sinkstream
