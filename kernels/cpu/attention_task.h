// The unit of work of attention: one row with the query heads of one KV head.
#pragma once

#include <cstdint>

#include "kernels/cache_layout.h"

namespace sinkstream::kernels {

struct AttentionTask {
  AttentionRow row;
  CachePlane plane;                       // of the slot and the KV head
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
