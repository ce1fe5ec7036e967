// Which tokens of a slot's output its penalties count, and how often each was there.
#pragma once

#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

#include "base/sampling_params.h"

namespace sinkstream::kernels {

// All of the output or, with repeat_last_n, the newest of it. The size is bounded by the vocabulary and by
// repeat_last_n, however long the session.
class PenaltyCounts {
 public:
  PenaltyCounts() = default;
  explicit PenaltyCounts(const SamplingParams& sampling);

  void add(TokenId chosen);
  const std::unordered_map<TokenId, std::int32_t>& counts() const { return counts_; }

 private:
  bool is_on_ = false;
  std::size_t last_n_ = 0;  // 0: all
  std::vector<TokenId> end_tokens_;
  std::deque<TokenId> newest_;  // up to last_n_
  std::unordered_map<TokenId, std::int32_t> counts_;
};

}  // namespace sinkstream::kernels
