// How finely operations are cut for the threads.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sinkstream::kernels {

// Elementary steps (a multiply-add, a copied element) below which a part isn't worth waking a thread for.
inline constexpr std::int64_t kStepsPerPart = 32 * 1024;

// How many items of `steps_per_item` make a part that is worth it.
constexpr std::int64_t items_per_part(std::int64_t steps_per_item) {
  return std::max<std::int64_t>(1, kStepsPerPart / std::max<std::int64_t>(1, steps_per_item));
}

}  // namespace sinkstream::kernels
