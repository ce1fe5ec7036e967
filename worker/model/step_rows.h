// The tokens of one step, checked and laid out as the operations take them. What gets past here is trusted.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/cache_geometry.h"
#include "base/token_id.h"
#include "kernels/types.h"
#include "worker/model/kv_cache.h"

namespace sinkstream {

// One token of a step. Rows of one session stand in ascending position, without gaps, and no more of them
// than the ring has room for beside their windows (at most slack_tokens + 1).
struct ModelRow {
  std::int32_t slot = 0;
  TokenId token = 0;  // or kernels::kLastChosen
  std::int64_t position = 0;
  CacheWindow window;
  std::int64_t ring_begin = 0;  // of its window, what lies before is not there, and is left out
};

class StepRows {
 public:
  StepRows(const KvCacheSizes& cache, std::int64_t vocab_size, std::int64_t max_rows);

  // Throws std::invalid_argument for rows that break the rules.
  void assign(std::span<const ModelRow> rows);

  std::span<const TokenId> tokens() const { return tokens_; }
  std::span<const std::int32_t> slots() const { return row_slots_; }
  std::span<const std::int64_t> true_positions() const { return true_positions_; }
  std::span<const std::int64_t> cache_positions() const { return cache_positions_; }  // within the cache
  std::span<const kernels::AttentionRow> attention() const { return attention_; }

 private:
  // What this step holds of one slot so far.
  struct SlotSpan {
    std::uint64_t step = 0;
    std::int64_t last_position = 0;
    std::int64_t oldest_attended = 0;
  };

  void check(const ModelRow& row) const;
  void check_room(const ModelRow& row);

  KvCacheSizes cache_;
  std::int64_t vocab_size_;
  std::size_t max_rows_;
  std::uint64_t step_ = 0;
  std::vector<SlotSpan> slots_;

  std::vector<TokenId> tokens_;
  std::vector<std::int32_t> row_slots_;
  std::vector<std::int64_t> true_positions_;
  std::vector<std::int64_t> cache_positions_;
  std::vector<kernels::AttentionRow> attention_;
};

}  // namespace sinkstream
