#include "worker/model/step_arrays.h"

#include <algorithm>

namespace sinkstream {

StepArrays::StepArrays(std::int64_t max_rows, kernels::Backend& backend)
    : true_positions_(place<std::int64_t>(max_rows)),
      cache_positions_(place<std::int64_t>(max_rows)),
      attention_(place<kernels::AttentionRow>(max_rows)),
      tokens_(place<std::int32_t>(max_rows)),
      slots_(place<std::int32_t>(max_rows)),
      memory_(backend.allocate(bytes(max_rows), "a step's tokens")) {}

std::int64_t StepArrays::bytes(std::int64_t max_rows) {
  constexpr std::size_t kPerRow =
      2 * sizeof(std::int64_t) + sizeof(kernels::AttentionRow) + 2 * sizeof(std::int32_t);
  return max_rows * static_cast<std::int64_t>(kPerRow);
}

// One behind the other, the widest elements first so that all stand at multiples of their size.
template <typename T>
StepArrays::Place<T> StepArrays::place(std::int64_t max_rows) {
  const Place<T> place{std::ssize(staged_)};
  staged_.resize(staged_.size() + static_cast<std::size_t>(max_rows) * sizeof(T));
  return place;
}

template <typename T>
void StepArrays::stage(const Place<T>& place, std::span<const T> values) {
  std::ranges::copy(std::as_bytes(values), staged_.begin() + place.offset);
}

void StepArrays::upload(const StepRows& step, kernels::Backend& backend) {
  rows_ = std::ssize(step.tokens());
  stage(true_positions_, step.true_positions());
  stage(cache_positions_, step.cache_positions());
  stage(attention_, step.attention());
  stage(tokens_, step.tokens());
  stage(slots_, step.slots());
  backend.upload(staged_, memory_.address());
}

}  // namespace sinkstream
