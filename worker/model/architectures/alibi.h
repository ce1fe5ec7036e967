// The slopes of ALiBi (Press et al. 2022), for any number of heads, as each family computes them.
#pragma once

#include <cstdint>
#include <vector>

namespace sinkstream {

// MPT: 2^(-bias_max * i / n) for i = 1 ... n, where n is num_heads rounded up to a power of two. Where that
// gives more slopes than heads, those of even i come first, then those of odd i, as many as are needed.
std::vector<float> mpt_alibi_slopes(std::int64_t num_heads, double bias_max);

// Falcon: 2^(-8 i / n) for i = 1 ... n, where n is num_heads rounded down to a power of two; further heads
// take those of odd i of a series twice as fine. Multiplied by `scale`, since Falcon adds the bias before it
// scales the scores.
std::vector<float> falcon_alibi_slopes(std::int64_t num_heads, double scale);

}  // namespace sinkstream
