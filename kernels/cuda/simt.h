// What the sources in kernels/cuda see of CUDA: the runtime's header, launches, memory shared by a block.
// Under SINKSTREAM_CUDA_EMULATED the same sources are C++ that runs on the CPU, for tests where there is no
// GPU (tests/kernels/emulation says what that can and can't show).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/cuda_error.h"
#include "kernels/device_memory.h"

namespace sinkstream::kernels::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kWholeWarp = 0xffffffffu;

template <typename T>
constexpr T ceil_divide(T numerator, T denominator) {
  return (numerator + denominator - 1) / denominator;
}

// The element at an address of this backend. On the host it may be counted with, not read.
template <typename T>
__host__ __device__ inline T* device_pointer(Address address) {
  return reinterpret_cast<T*>(static_cast<std::uintptr_t>(address));
}

struct LaunchShape {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;  // of dynamic_shared()
  // For what kernels of other ranks write: all of its blocks have to have room on the GPU at once.
  bool waits_for_peers = false;
};

// A thread for each of `count` (> 0) things, in blocks of `threads`; the last block has some too many.
inline LaunchShape thread_each(std::int64_t count, int threads) {
  return {.grid = dim3(static_cast<unsigned>(ceil_divide<std::int64_t>(count, threads))),
          .block = dim3(static_cast<unsigned>(threads))};
}

#ifdef SINKSTREAM_CUDA_EMULATED

template <typename T>
T* dynamic_shared() {
  return static_cast<T*>(emulation::dynamic_shared_memory());
}

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), const LaunchShape& shape, cudaStream_t stream,
            Arguments... arguments) {
  check(emulation::launch(
            reinterpret_cast<const void*>(kernel), shape.grid, shape.block, shape.shared_bytes, stream,
            [=] { kernel(static_cast<Parameters>(arguments)...); }, shape.waits_for_peers),
        "a kernel's launch");
}

#else

// The block's memory beside its static arrays, at a multiple of 16 bytes.
template <typename T>
__device__ inline T* dynamic_shared() {
  extern __shared__ uint4 dynamic_shared_memory[];
  return reinterpret_cast<T*>(dynamic_shared_memory);
}

inline cudaLaunchConfig_t launch_config(const LaunchShape& shape, cudaStream_t stream) {
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  return config;
}

// Queues a kernel. More than 48 KiB of shared memory is asked for with allow_shared() before. Throws
// CudaError.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), const LaunchShape& shape, cudaStream_t stream,
            Arguments... arguments) {
  const cudaLaunchConfig_t config = launch_config(shape, stream);
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), "a kernel's launch");
}

#endif

// Once for each kernel that takes more than 48 KiB of dynamic_shared().
template <typename... Parameters>
void allow_shared(void (*kernel)(Parameters...), std::size_t bytes) {
  check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "shared memory of a kernel");
}

}  // namespace sinkstream::kernels::cuda
