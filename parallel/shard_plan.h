// Which part of the model a rank holds. Pure functions of sizes, ranks and nothing else.
#pragma once

#include <cstdint>

#include "base/range.h"

namespace sinkstream {

// The whole model's sizes that are divided among ranks.
struct ShardSizes {
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;  // divides num_heads
  std::int64_t intermediate_size = 0;
  std::int64_t vocab_size = 0;
};

// One rank's share. Query heads, MLP columns and vocabulary rows are disjoint between ranks; a KV head that
// the query heads of several ranks need is held by each of them.
struct ShardPlan {
  int rank = 0;
  int world_size = 1;
  Range heads;
  Range kv_heads;
  Range own_kv_heads;  // of kv_heads those that no lower rank holds: each KV head is one rank's own
  Range mlp;
  Range vocab;
};

// The index-th of `parts` contiguous pieces of [0, total); sizes differ by at most one, longer ones first.
Range split_evenly(std::int64_t total, std::int64_t parts, std::int64_t index);

// Throws std::invalid_argument, saying which limit, unless 1 <= world_size <= num_heads and
// intermediate_size, 0 <= rank < world_size and num_kv_heads divides num_heads. So each rank has heads and
// MLP columns; it may have no vocabulary rows.
ShardPlan make_shard_plan(const ShardSizes& sizes, int world_size, int rank);

}  // namespace sinkstream
