#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace sinkstream {

// How long something took, counted by size.
struct DurationHistogram {
  // Upper bounds in seconds, each within its bucket; the last bucket has none.
  static constexpr std::array<double, 17> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,  0.25, 0.5,
                                                     1,     2.5,    5,     10,   60,    300,  1800, 7200};

  std::array<std::int64_t, kBounds.size() + 1> counts = {};
  double sum = 0;  // seconds

  void add(double seconds) {
    const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
    ++counts[static_cast<std::size_t>(bound - kBounds.begin())];
    sum += seconds;
  }
};

}  // namespace sinkstream
