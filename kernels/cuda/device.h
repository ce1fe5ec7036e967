// A GPU as operations see it.
#pragma once

#include <cstdint>

#include "kernels/cuda/simt.h"

namespace sinkstream::kernels::cuda {

// Operations queue on `stream` and may use `workspace` between two of their kernels; the next operation may
// overwrite it.
struct Device {
  int number = 0;  // as the driver counts
  cudaStream_t stream = nullptr;
  int multiprocessors = 1;
  bool has_early_launch = false;  // early_launch.h; since compute capability 9.0
  Address workspace = Address::none;
  std::int64_t workspace_bytes = 0;
};

}  // namespace sinkstream::kernels::cuda
