// The unit of work of attention: one row with the query heads of one KV head.
#pragma once

#include <cstdint>

#include "kernels/types.h"

namespace sinkstream::kernels {

struct AttentionTask {
  AttentionRow row;
  std::int64_t plane = 0;                 // slot and KV head: which [capacity, head_dim] of the cache
  std::int64_t heads = 0;                 // query heads; they are neighbours
  const float* window_queries = nullptr;  // [heads, head_dim]
  const float* sink_queries = nullptr;    // [heads, head_dim]
  float* out = nullptr;                   // [heads, head_dim]
  float scale = 1.0f;
  const float* alibi_slopes = nullptr;  // [heads] or none

  std::int64_t window_tokens() const { return row.position - row.window_begin + 1; }
  std::int64_t tokens() const { return row.sinks_end + window_tokens(); }
};

}  // namespace sinkstream::kernels
