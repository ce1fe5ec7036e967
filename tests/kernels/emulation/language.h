// CUDA's words for C++: qualifiers, and what each thread knows of itself.
#pragma once

#include "tests/kernels/emulation/multiprocessor.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ __attribute__((always_inline)) inline
#define __launch_bounds__(...)
#define __grid_constant__
// The blocks of a grid come one after the other, so one array for each thread of the host is enough.
#define __shared__ static thread_local

#define threadIdx (::sinkstream::kernels::cuda::emulation::current->thread_index)
#define blockIdx (::sinkstream::kernels::cuda::emulation::current->block_index)
#define blockDim (::sinkstream::kernels::cuda::emulation::current->grid->threads)
#define gridDim (::sinkstream::kernels::cuda::emulation::current->grid->blocks)

inline constexpr int warpSize = 32;
