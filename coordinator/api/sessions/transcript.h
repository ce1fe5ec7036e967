// A session's tokens by position, as far as they are kept.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <span>
#include <vector>

#include "base/token_id.h"

namespace sinkstream {

// Keeps the newest tokens; older ones are counted only.
class Transcript {
 public:
  explicit Transcript(std::int64_t max_tokens, std::int64_t begin = 0)
      : max_tokens_(std::max<std::int64_t>(max_tokens, 1)), begin_(begin) {}

  std::int64_t begin() const { return begin_; }  // the first that is kept
  std::int64_t end() const { return begin_ + static_cast<std::int64_t>(tokens_.size()); }

  // Those from `needed_from` on are kept however many they are.
  void append(std::span<const TokenId> tokens,
              std::int64_t needed_from = std::numeric_limits<std::int64_t>::max()) {
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    const std::int64_t old = std::min(end() - max_tokens_, needed_from) - begin_;
    if (old <= 0) return;
    tokens_.erase(tokens_.begin(), tokens_.begin() + old);
    begin_ += old;
  }

  // It ends at `end`, no further than it did.
  void truncate(std::int64_t end) {
    if (end >= this->end()) return;
    tokens_.resize(static_cast<std::size_t>(std::max<std::int64_t>(end - begin_, 0)));
    begin_ = std::min(begin_, end);
  }

  // Those of [from, to) that are kept.
  std::vector<TokenId> read(std::int64_t from, std::int64_t to) const {
    const std::int64_t first = std::clamp(from, begin_, end());
    const std::int64_t last = std::clamp(to, first, end());
    return {tokens_.begin() + (first - begin_), tokens_.begin() + (last - begin_)};
  }

 private:
  std::int64_t max_tokens_;
  std::int64_t begin_;
  std::deque<TokenId> tokens_;
};

}  // namespace sinkstream
