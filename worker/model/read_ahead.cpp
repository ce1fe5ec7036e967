#include "worker/model/read_ahead.h"

#include <algorithm>
#include <utility>

namespace sinkstream {
namespace {

// Enough for a disk to be busy all the time; of the system's memory, not of this process's.
constexpr std::int64_t kElementsAhead = 32 << 20;
constexpr std::int64_t kElementsAtOnce = 1 << 20;

}  // namespace

ReadAhead::ReadAhead(const Checkpoint& checkpoint, std::vector<Slice> slices)
    : checkpoint_(checkpoint), slices_(std::move(slices)) {
  go_on();
}

void ReadAhead::used(std::int64_t rows, std::int64_t columns) {
  elements_ahead_ -= rows * columns;
  go_on();
}

void ReadAhead::go_on() {
  while (elements_ahead_ < kElementsAhead && next_ < slices_.size()) {
    const Slice& slice = slices_[next_];
    const std::int64_t width = std::max<std::int64_t>(1, slice.columns.size());
    const std::int64_t first = slice.rows.begin + next_row_;
    const Range some = {first,
                        std::min(first + std::max<std::int64_t>(1, kElementsAtOnce / width), slice.rows.end)};
    checkpoint_.prefetch(*slice.tensor, some, slice.columns);
    elements_ahead_ += some.size() * slice.columns.size();
    next_row_ += some.size();
    if (some.end < slice.rows.end) continue;
    ++next_;
    next_row_ = 0;
  }
}

}  // namespace sinkstream
