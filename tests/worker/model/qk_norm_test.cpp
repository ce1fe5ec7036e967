#include "worker/model/qk_norm.h"

#include <gtest/gtest.h>

#include <utility>

namespace sinkstream {
namespace {

ModelConfig sizes(std::int64_t num_heads, std::int64_t num_kv_heads) {
  ModelConfig config;
  config.num_heads = num_heads;
  config.num_kv_heads = num_kv_heads;
  config.head_dim = 5;
  config.intermediate_size = num_heads;
  return config;
}

TEST(SpreadFeatures, EveryHeadCountsOnce) {
  for (const auto& [heads, kv_heads] : {std::pair{7, 7}, {8, 2}, {12, 4}, {6, 1}}) {
    const ModelConfig config = sizes(heads, kv_heads);
    for (int ranks = 1; ranks <= heads; ++ranks) {
      std::int64_t queries = 0, keys = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const ShardPlan plan = make_shard_plan(config.shard_sizes(), ranks, rank);
        const SpreadFeatures query = query_features(config, plan);
        const SpreadFeatures key = key_features(config, plan);
        EXPECT_EQ(query.own.size(), query.counts.at(static_cast<std::size_t>(rank)));
        EXPECT_EQ(key.own.size(), key.counts.at(static_cast<std::size_t>(rank)));
        EXPECT_EQ(key.first_column, plan.heads.size() * 5);
        EXPECT_EQ(key.own.end, key.first_column + plan.kv_heads.size() * 5)
            << "those held before are the first";
        queries += query.own.size();
        keys += key.own.size();
      }
      EXPECT_EQ(queries, heads * 5);
      EXPECT_EQ(keys, kv_heads * 5);
    }
  }
}

}  // namespace
}  // namespace sinkstream
