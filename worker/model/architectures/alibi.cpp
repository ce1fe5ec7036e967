#include "worker/model/architectures/alibi.h"

#include <bit>
#include <cmath>

namespace sinkstream {
namespace {

std::int64_t power_of_two_from(std::int64_t number) {
  return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(number)));
}

std::int64_t power_of_two_up_to(std::int64_t number) {
  return static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(number)));
}

float slope(double bias_max, std::int64_t index, std::int64_t count, double scale) {
  return static_cast<float>(scale *
                            std::exp2(-bias_max * static_cast<double>(index) / static_cast<double>(count)));
}

}  // namespace

std::vector<float> mpt_alibi_slopes(std::int64_t num_heads, double bias_max) {
  const std::int64_t count = power_of_two_from(num_heads);
  std::vector<float> slopes;
  const auto add_every = [&](std::int64_t first, std::int64_t stride) {
    for (std::int64_t i = first; i <= count && std::ssize(slopes) < num_heads; i += stride) {
      slopes.push_back(slope(bias_max, i, count, 1.0));
    }
  };
  if (count == num_heads) {
    add_every(1, 1);
  } else {
    add_every(2, 2);
    add_every(1, 2);
  }
  return slopes;
}

std::vector<float> falcon_alibi_slopes(std::int64_t num_heads, double scale) {
  constexpr double kBiasMax = 8.0;
  const std::int64_t count = power_of_two_up_to(num_heads);
  std::vector<float> slopes;
  for (std::int64_t i = 1; i <= count; ++i) slopes.push_back(slope(kBiasMax, i, count, scale));
  for (std::int64_t i = 1; std::ssize(slopes) < num_heads; i += 2) {
    slopes.push_back(slope(kBiasMax, i, 2 * count, scale));
  }
  return slopes;
}

}  // namespace sinkstream
