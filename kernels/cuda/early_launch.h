// Kernels that begin before the one queued ahead of them has ended (programmatic dependent launch, since
// compute capability 9.0). A kernel lets the next one begin with allow_next_kernel(): once all of its blocks
// have called it or ended, blocks of a next kernel that was launched by launch_early() start where there is
// room. Until they call wait_for_previous_kernel() those may read only what no kernel writes that was queued
// since something was uploaded or copied (kernels behind that wait for all before it): a weight, a step's rows,
// keys of earlier steps. And they may write only shared memory. A next kernel that was launched otherwise waits
// for the end, as ever.
#pragma once

#include "kernels/cuda/device.h"

namespace sinkstream::kernels::cuda {

__device__ inline void allow_next_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Returns when the previous kernel has ended and all that it wrote is seen.
__device__ inline void wait_for_previous_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// For kernels that have nothing to do before the previous one has ended: only their launch overlaps.
__device__ inline void begin_after_previous() {
  allow_next_kernel();
  wait_for_previous_kernel();
}

#ifdef SINKSTREAM_CUDA_EMULATED

template <typename... Parameters, typename... Arguments>
void launch_early(const Device& device, void (*kernel)(Parameters...), const LaunchShape& shape,
                  Arguments... arguments) {
  launch(kernel, shape, device.stream, arguments...);
}

#else

template <typename... Parameters, typename... Arguments>
void launch_early(const Device& device, void (*kernel)(Parameters...), const LaunchShape& shape,
                  Arguments... arguments) {
  if (!device.has_early_launch) {
    launch(kernel, shape, device.stream, arguments...);
    return;
  }
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = launch_config(shape, device.stream);
  config.attrs = &early;
  config.numAttrs = 1;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), "a kernel's launch");
}

#endif

}  // namespace sinkstream::kernels::cuda
