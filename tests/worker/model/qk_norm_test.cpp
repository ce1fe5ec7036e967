#include "worker/model/qk_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace sinkstream {
namespace {

ModelConfig sizes(std::int64_t num_heads, std::int64_t num_kv_heads) {
  ModelConfig config;
  config.num_heads = num_heads;
  config.num_kv_heads = num_kv_heads;
  config.head_dim = 5;
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

struct Moments {
  double mean = 0, squares = 0;
};

Moments moments_of(std::span<const double> values) {
  Moments moments;
  for (const double value : values) moments.mean += value / static_cast<double>(values.size());
  for (const double value : values) moments.squares += (value - moments.mean) * (value - moments.mean);
  return moments;
}

TEST(CombineMoments, EqualsTheMomentsOfTheWhole) {
  constexpr std::size_t kRows = 3, kFeatures = 8;
  const std::vector<std::int64_t> counts = {3, 0, 1, 4};
  std::mt19937 random(1);
  std::normal_distribution<double> normal(50.0, 2.0);
  std::vector<float> spread(counts.size() * kRows * 2);  // [ranks, rows, 2]
  std::vector<Moments> whole;
  for (std::size_t row = 0; row < kRows; ++row) {
    std::vector<double> values(kFeatures);
    for (double& value : values) value = normal(random);
    whole.push_back(moments_of(values));
    std::size_t begin = 0;
    for (std::size_t rank = 0; rank < counts.size(); ++rank) {
      const auto count = static_cast<std::size_t>(counts[rank]);
      const Moments part = moments_of(std::span(values).subspan(begin, count));
      spread[2 * (rank * kRows + row)] = static_cast<float>(part.mean);
      spread[2 * (rank * kRows + row) + 1] = static_cast<float>(part.squares);
      begin += count;
    }
  }
  std::vector<float> statistics(2 * kRows);
  combine_moments(spread, counts, 0.5f, {statistics.data(), kRows, 2});
  for (std::size_t row = 0; row < kRows; ++row) {
    EXPECT_NEAR(statistics[2 * row], whole[row].mean, 1e-4);
    EXPECT_NEAR(statistics[2 * row + 1], 1 / std::sqrt(whole[row].squares / kFeatures + 0.5), 1e-5);
  }
}

}  // namespace
}  // namespace sinkstream
