#include "kernels/host/penalty_counts.h"

#include <algorithm>

namespace sinkstream::kernels {

PenaltyCounts::PenaltyCounts(const SamplingParams& sampling) : is_on_(sampling.has_penalties()) {
  if (!is_on_ || sampling.repeat_last_n < 0) return;
  last_n_ = static_cast<std::size_t>(sampling.repeat_last_n);
  end_tokens_ = sampling.end_tokens;
  for (const TokenId token : sampling.earlier_output) add(token);
}

void PenaltyCounts::add(TokenId chosen) {
  if (!is_on_) return;
  // Those of earlier answers, counted, would let no later one end.
  if (std::ranges::find(end_tokens_, chosen) != end_tokens_.end()) return;
  ++counts_[chosen];
  if (last_n_ == 0) return;
  newest_.push_back(chosen);
  if (newest_.size() <= last_n_) return;
  const auto oldest = counts_.find(newest_.front());
  if (--oldest->second == 0) counts_.erase(oldest);
  newest_.pop_front();
}

}  // namespace sinkstream::kernels
