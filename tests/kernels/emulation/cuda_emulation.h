// CUDA on the CPU, for tests: under SINKSTREAM_CUDA_EMULATED this is the <cuda_runtime.h> of the sources in
// kernels/cuda (toolkit/), and they are C++ like any other.
//
// A block's threads are fibers on one thread of the host, which switch where they wait for each other; blocks
// come one after the other; the orders of both change from kernel to kernel. Blocks of a kernel that waits
// for other ranks' run at a time, on threads of the host. So it shows wrong results, accesses beside memory
// (under asan also beside dynamic shared memory), barriers and whole-warp intrinsics that not all come to,
// values that nobody wrote, a host that reads before it waits, and under several orders most missing
// barriers; under the thread sanitizer every one that a kernel's run meets, since it takes the fibers of a
// block for threads.
//
// It can't show: speed; what a GPU's memory shows in another order than it was written; races between blocks;
// blocks of a kernel that wait for each other (they would hang); shared arrays that are read before they are
// written (only dynamic shared memory is poisoned); bits, where a GPU's instructions round otherwise
// (mma_bf16,
// __expf, fused multiply-adds that nvcc makes).
#pragma once

#ifndef SINKSTREAM_CUDA_EMULATED
#error "SINKSTREAM_CUDA_EMULATED is not defined"
#endif

#include "tests/kernels/emulation/intrinsics.h"
#include "tests/kernels/emulation/language.h"
#include "tests/kernels/emulation/runtime.h"
#include "tests/kernels/emulation/vector_types.h"
