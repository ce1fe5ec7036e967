// What went wrong on this thread, in CUDA's codes and in words.
#pragma once

#include <string>

#include "tests/kernels/emulation/runtime.h"

namespace sinkstream::kernels::cuda::emulation {

// Keeps both for cudaGetLastError and cudaGetErrorString, and returns the code.
cudaError_t failed(cudaError_t error, const std::string& message);

}  // namespace sinkstream::kernels::cuda::emulation
