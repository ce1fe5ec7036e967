// Asks the system for parts of a checkpoint shortly before they are used, so that the disk reads while
// weights are packed.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/model/checkpoint/checkpoint.h"

namespace sinkstream {

// Rows and columns of a tensor.
struct Slice {
  const TensorInfo* tensor;
  Range rows;
  Range columns;
};

class ReadAhead {
 public:
  // `slices` in the order in which they will be used. Asks for the first.
  ReadAhead(const Checkpoint& checkpoint, std::vector<Slice> slices);

  // So many rows more have been used, of this many columns.
  void used(std::int64_t rows, std::int64_t columns);

 private:
  void go_on();

  const Checkpoint& checkpoint_;
  std::vector<Slice> slices_;
  std::size_t next_ = 0;  // which of them is asked for next, from which of its rows on
  std::int64_t next_row_ = 0;
  std::int64_t elements_ahead_ = 0;  // asked for and not used yet
};

}  // namespace sinkstream
