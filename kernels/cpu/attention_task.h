// The unit of work of attention: one row with the query heads of one KV head.
#pragma once

#include <algorithm>
#include <array>
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

// Contiguous tokens of the ring.
struct RingPiece {
  std::int64_t first = 0;  // index in the ring
  std::int64_t count = 0;
};

// The window in ascending position: up to the ring's end, then from its start (often none).
inline std::array<RingPiece, 2> window_pieces(const AttentionTask& task, std::int64_t ring_capacity) {
  const std::int64_t first = task.row.window_begin % ring_capacity;
  const std::int64_t until_wrap = std::min(task.window_tokens(), ring_capacity - first);
  return {RingPiece{first, until_wrap}, RingPiece{0, task.window_tokens() - until_wrap}};
}

}  // namespace sinkstream::kernels
