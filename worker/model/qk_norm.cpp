#include "worker/model/qk_norm.h"

#include <cmath>
#include <functional>

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

void combine_moments(std::span<const float> moments, std::span<const std::int64_t> counts, float epsilon,
                     kernels::Matrix statistics) {
  for (std::int64_t row = 0; row < statistics.rows; ++row) {
    double count = 0, mean = 0, squares = 0;
    for (std::size_t rank = 0; rank < counts.size(); ++rank) {
      if (counts[rank] == 0) continue;
      const auto added = static_cast<double>(counts[rank]);
      const std::size_t at =
          2 * (rank * static_cast<std::size_t>(statistics.rows) + static_cast<std::size_t>(row));
      const double difference = static_cast<double>(moments[at]) - mean;
      squares +=
          static_cast<double>(moments[at + 1]) + difference * difference * count * added / (count + added);
      count += added;
      mean += difference * added / count;
    }
    statistics.row(row)[0] = static_cast<float>(mean);
    statistics.row(row)[1] =
        static_cast<float>(1.0 / std::sqrt(squares / count + static_cast<double>(epsilon)));
  }
}

void spread_layer_norm(kernels::Context& context, Communicator& communicator, const SpreadFeatures& features,
                       const NormWeights& norm, float epsilon, kernels::Matrix moments, kernels::Matrix qkv) {
  const std::span<float> mine(moments.data, static_cast<std::size_t>(moments.rows * moments.cols));
  if (features.own.size() > 0) {
    row_moments(context, qkv, features.own.begin, features.own.size(), moments);
  } else {
    std::fill(mine.begin(), mine.end(), 0.0f);
  }
  std::vector<float> all(mine.size() * features.counts.size());
  communicator.all_gather(std::as_bytes(mine), std::as_writable_bytes(std::span(all)));
  combine_moments(all, features.counts, epsilon, moments);
  normalize_columns(context, moments, norm.weight, norm.bias, features.first_column, qkv);
}

}  // namespace sinkstream
