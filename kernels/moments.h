// Means and squares that were measured apart, put together (Chan et al. 1979); one definition for all
// backends.
#pragma once

#include <cstdint>

namespace sinkstream::kernels {

// Of the features so far: their number, mean, and sum of squared differences from it.
struct CombinedMoments {
  double count = 0;
  double mean = 0;
  double squares = 0;

  constexpr void add(std::int64_t added_count, double added_mean, double added_squares) {
    if (added_count == 0) return;
    const auto added = static_cast<double>(added_count);
    const double difference = added_mean - mean;
    squares += added_squares + difference * difference * count * added / (count + added);
    count += added;
    mean += difference * added / count;
  }
};

}  // namespace sinkstream::kernels
