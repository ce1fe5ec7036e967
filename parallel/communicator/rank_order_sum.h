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
  std::copy_n(block(0), out.size(), out.begin());
  for (int r = 1; r < ranks; ++r) {
    const float* addend = block(r);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] += addend[i];
  }
}

}  // namespace sinkstream
