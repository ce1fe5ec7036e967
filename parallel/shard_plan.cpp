#include "parallel/shard_plan.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace sinkstream {

Range split_evenly(std::int64_t total, std::int64_t parts, std::int64_t index) {
  if (total < 0 || parts < 1 || index < 0 || index >= parts) {
    throw std::invalid_argument("cannot take piece " + std::to_string(index) + " of " +
                                std::to_string(total) + " items in " + std::to_string(parts) + " pieces");
  }
  const std::int64_t shorter = total / parts;
  const std::int64_t longer_pieces = total % parts;
  const std::int64_t begin = index * shorter + std::min(index, longer_pieces);
  return {begin, begin + shorter + (index < longer_pieces ? 1 : 0)};
}

namespace {

void check(const ShardSizes& sizes, int world_size, int rank) {
  if (sizes.num_heads < 1 || sizes.num_kv_heads < 1 || sizes.num_heads % sizes.num_kv_heads != 0) {
    throw std::invalid_argument("num_kv_heads (" + std::to_string(sizes.num_kv_heads) +
                                ") must divide num_heads (" + std::to_string(sizes.num_heads) + ")");
  }
  if (world_size < 1 || world_size > sizes.num_heads) {
    throw std::invalid_argument("a model of " + std::to_string(sizes.num_heads) +
                                " attention heads runs on 1 to " + std::to_string(sizes.num_heads) +
                                " ranks, not on " + std::to_string(world_size) + "; start fewer ranks");
  }
  if (world_size > sizes.intermediate_size) {
    throw std::invalid_argument("a model of " + std::to_string(sizes.intermediate_size) +
                                " MLP columns runs on 1 to " + std::to_string(sizes.intermediate_size) +
                                " ranks, not on " + std::to_string(world_size) + "; start fewer ranks");
  }
  if (rank < 0 || rank >= world_size) {
    throw std::invalid_argument("rank " + std::to_string(rank) + " is not one of the " +
                                std::to_string(world_size) + " ranks");
  }
}

// The KV heads that a (non-empty) range of query heads reads.
Range kv_heads_of(const Range& heads, std::int64_t heads_per_kv_head) {
  return {heads.begin / heads_per_kv_head, (heads.end - 1) / heads_per_kv_head + 1};
}

}  // namespace

ShardPlan make_shard_plan(const ShardSizes& sizes, int world_size, int rank) {
  check(sizes, world_size, rank);
  ShardPlan plan;
  plan.rank = rank;
  plan.world_size = world_size;
  plan.heads = split_evenly(sizes.num_heads, world_size, rank);
  const std::int64_t group_size = sizes.num_heads / sizes.num_kv_heads;
  plan.kv_heads = kv_heads_of(plan.heads, group_size);
  plan.own_kv_heads = {(plan.heads.begin + group_size - 1) / group_size, plan.kv_heads.end};
  plan.mlp = split_evenly(sizes.intermediate_size, world_size, rank);
  plan.vocab = split_evenly(sizes.vocab_size, world_size, rank);
  return plan;
}

}  // namespace sinkstream
