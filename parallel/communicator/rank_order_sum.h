// The one definition of "the sum over ranks", shared by every communicator so that all give the same bits.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

namespace sinkstream {

// out[i] = ((block(0)[i] + block(1)[i]) + block(2)[i]) + ...; block(rank) is a const float* to out.size()
// values and does not overlap `out`.
template <typename BlockOfRank>
void sum_in_rank_order(int ranks, BlockOfRank&& block, std::span<float> out) {
  const float* first = block(0);
  if (ranks == 1) {
    std::copy_n(first, out.size(), out.begin());
    return;
  }
  const float* second = block(1);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = first[i] + second[i];
  for (int r = 2; r < ranks; ++r) {
    const float* addend = block(r);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] += addend[i];
  }
}

}  // namespace sinkstream
