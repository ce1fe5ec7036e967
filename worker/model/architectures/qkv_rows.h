// Which rows of the stored query, key and value projections belong to which head. Pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/shard_plan.h"

namespace sinkstream {

// How a checkpoint keeps the three projections.
enum class QkvLayout {
  separate,  // three tensors
  stacked,   // one tensor: all queries, all keys, all values
  grouped,   // one tensor, KV head after KV head: the queries that read it, its key, its value
};

struct HeadSizes {
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;  // divides num_heads
  std::int64_t head_dim = 0;
};

// Rows of the tensor (separate: of the one tensor in question) in the order of the heads; neighbours are
// joined.
struct QkvRows {
  std::vector<Range> queries, keys, values;
};

QkvRows qkv_rows(QkvLayout layout, const HeadSizes& sizes, Range heads, Range kv_heads);

// Rows of the tensor that holds the queries, and of the one that holds the keys (values: the same number).
std::int64_t stored_query_rows(QkvLayout layout, const HeadSizes& sizes);
std::int64_t stored_key_rows(QkvLayout layout, const HeadSizes& sizes);

}  // namespace sinkstream
