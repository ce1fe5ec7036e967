#include "worker/model/step_rows.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace sinkstream {
namespace {

// Far beyond any session; sums of positions and sizes stay countable.
constexpr std::int64_t kLastPosition = std::int64_t{1} << 60;

void require(bool condition, const ModelRow& row, const char* reason) {
  if (condition) return;
  throw std::invalid_argument("row of slot " + std::to_string(row.slot) + " at position " +
                              std::to_string(row.position) + ": " + reason);
}

kernels::AttentionRow attended_by(const ModelRow& row) {
  const std::int64_t begin = std::max(row.ring_begin, window_begin(row.position, row.window));
  return {.slot = row.slot,
          .position = row.position,
          .window_begin = begin,
          .sinks_end = std::min(row.window.sink_tokens, begin)};
}

}  // namespace

StepRows::StepRows(const KvCacheSizes& cache, std::int64_t vocab_size, std::int64_t max_rows)
    : cache_(cache),
      vocab_size_(vocab_size),
      max_rows_(static_cast<std::size_t>(max_rows)),
      slots_(static_cast<std::size_t>(cache.num_slots)) {
  if (max_rows < 1) throw std::invalid_argument("a step must take at least one row");
}

void StepRows::assign(std::span<const ModelRow> rows) {
  if (rows.empty() || rows.size() > max_rows_) {
    throw std::invalid_argument("a step of " + std::to_string(rows.size()) + " rows; it takes 1 to " +
                                std::to_string(max_rows_));
  }
  ++step_;
  tokens_.clear();
  row_slots_.clear();
  true_positions_.clear();
  cache_positions_.clear();
  attention_.clear();
  for (const ModelRow& row : rows) {
    check(row);
    check_room(row);
    tokens_.push_back(row.token);
    row_slots_.push_back(row.slot);
    true_positions_.push_back(row.position);
    cache_positions_.push_back(position_within_cache(row.position, row.window));
    attention_.push_back(attended_by(row));
  }
}

void StepRows::check(const ModelRow& row) const {
  require(row.slot >= 0 && row.slot < cache_.num_slots, row, "no such slot");
  require(row.token == kernels::kLastChosen || (row.token >= 0 && row.token < vocab_size_), row,
          "its token is not in the vocabulary");
  require(row.position >= 0 && row.position <= kLastPosition, row, "no such position");
  require(row.window.window_tokens >= 1 && row.window.window_tokens <= cache_.ring_capacity, row,
          "its window does not fit the ring");
  require(row.window.sink_tokens >= 0, row, "a negative number of sinks");
  require(row.ring_begin >= 0 && row.ring_begin <= row.position, row, "it stands before its ring begins");
  require(attended_by(row).sinks_end <= cache_.sink_capacity, row, "more sinks than there is room for");
}

// A step writes all its keys before any row attends, so a session's newest key must not take the ring's place
// of the oldest one that a row of this step still attends to.
void StepRows::check_room(const ModelRow& row) {
  SlotSpan& slot = slots_[static_cast<std::size_t>(row.slot)];
  const std::int64_t oldest = window_begin(row.position, row.window);
  if (slot.step == step_) {
    require(row.position == slot.last_position + 1, row,
            "does not follow the row before it of the same slot");
    slot.oldest_attended = std::min(slot.oldest_attended, oldest);
  } else {
    slot.step = step_;
    slot.oldest_attended = oldest;
  }
  slot.last_position = row.position;
  require(row.position - slot.oldest_attended < cache_.ring_capacity, row,
          "too many rows of one slot for its ring");
}

}  // namespace sinkstream
