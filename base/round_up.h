#pragma once

#include <cstdint>

namespace sinkstream {

// The least multiple of `step` (> 0) that is no less than `value` (>= 0).
constexpr std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

}  // namespace sinkstream
