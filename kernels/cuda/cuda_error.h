// CUDA calls that fail throw.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace sinkstream::kernels::cuda {

class CudaError : public std::runtime_error {
 public:
  CudaError(cudaError_t error, const std::string& what_for)
      : std::runtime_error("CUDA: " + what_for + ": " + cudaGetErrorString(error) + " (" +
                           cudaGetErrorName(error) + ")"),
        code_(error) {}

  cudaError_t code() const { return code_; }

 private:
  cudaError_t code_;
};

// `what_for`: what was tried, for the message.
inline void check(cudaError_t error, const char* what_for) {
  if (error != cudaSuccess) throw CudaError(error, what_for);
}

}  // namespace sinkstream::kernels::cuda
