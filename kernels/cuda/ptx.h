// Instructions that C++ has no name for. Each has a twin in tests/kernels/emulation that does the same on the
// CPU. Fragments are spread over a warp's lanes as PTX ISA 9.7.14.5 draws them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/simt.h"
#include "kernels/types.h"

namespace sinkstream::kernels::cuda {

// Two floats as bf16, rounded to nearest even, `low` in the lower half.
__device__ inline std::uint32_t pack_bf16(float low, float high) {
#ifdef SINKSTREAM_CUDA_EMULATED
  return to_bfloat16(low).bits | static_cast<std::uint32_t>(to_bfloat16(high).bits) << 16;
#else
  std::uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
#endif
}

__device__ inline float low_bf16(std::uint32_t packed) {
  return __uint_as_float(packed << 16);
}
__device__ inline float high_bf16(std::uint32_t packed) {
  return __uint_as_float(packed & 0xffff0000u);
}

// (value & mask) | bits, as one instruction also where both are constants.
__device__ inline std::uint32_t and_or(std::uint32_t value, std::uint32_t mask, std::uint32_t bits) {
#ifdef SINKSTREAM_CUDA_EMULATED
  return (value & mask) | bits;
#else
  std::uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(result) : "r"(value), "r"(mask), "r"(bits));
  return result;
#endif
}

// a - b of both halves, rounded to nearest even.
__device__ inline std::uint32_t subtract_bf16(std::uint32_t a, std::uint32_t b) {
#ifdef SINKSTREAM_CUDA_EMULATED
  return pack_bf16(low_bf16(a) - low_bf16(b), high_bf16(a) - high_bf16(b));
#else
  std::uint32_t difference;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(difference) : "r"(b), "r"(0xbf80bf80u), "r"(a));  // b * -1 + a
  return difference;
#endif
}

// d += a * b on tensor cores, products exact, sums in float32.   a [16, 16] row-major, b [16, 8]
// column-major, d [16, 8]. With g = lane / 4 and t = lane % 4 a lane has
//   a[0] = rows g, columns 2t, 2t+1;  a[1] = row g+8, the same;  a[2], a[3] = the same rows, columns 8 more
//   b[0] = rows 2t, 2t+1 of column g; b[1] = rows 8 more
//   d[0], d[1] = row g, columns 2t, 2t+1;  d[2], d[3] = row g+8
__device__ inline void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#ifdef SINKSTREAM_CUDA_EMULATED
  emulation::mma_bf16(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Four matrices [8, 8] of 16-bit elements from shared memory, transposed. Lane l names the 16 bytes of row l
// % 8 of matrix l / 8, and gets of each matrix the elements in column g of rows 2t (lower half) and 2t+1.
__device__ inline void load_transposed(std::uint32_t (&to)[4], const void* row) {
#ifdef SINKSTREAM_CUDA_EMULATED
  const int lane = static_cast<int>(threadIdx.x % kWarpSize);
  const auto mine = static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(row));
  for (int matrix = 0; matrix < 4; ++matrix) {
    std::uint32_t pair = 0;
    for (int i = 0; i < 2; ++i) {
      const unsigned long long of_row = __shfl_sync(kWholeWarp, mine, 8 * matrix + 2 * (lane % 4) + i);
      pair |= std::uint32_t{reinterpret_cast<const std::uint16_t*>(of_row)[lane / 4]} << (16 * i);
    }
    to[matrix] = pair;
  }
#else
  const auto from = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from)
               : "memory");
#endif
}

// A place in shared memory, worked out once: the compiler does it anew at each use of a pointer.
#ifdef SINKSTREAM_CUDA_EMULATED
using SharedAddress = std::byte*;
#else
using SharedAddress = std::uint32_t;
#endif

__device__ inline SharedAddress shared_address(std::byte* shared) {
#ifdef SINKSTREAM_CUDA_EMULATED
  return shared;
#else
  auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("" : "+r"(address));
  return address;
#endif
}

// Copies 16 bytes from global to shared memory without waiting; zeroes them instead where `wanted` is false.
__device__ inline void copy_async_16(void* to_shared, const void* from_global, bool wanted = true) {
#ifdef SINKSTREAM_CUDA_EMULATED
  emulation::copy_async(to_shared, from_global, 16, wanted);
#else
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(to_shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from_global),
               "r"(wanted ? 16 : 0)
               : "memory");
#endif
}

// The same of 8 bytes.
__device__ inline void copy_async_8(void* to_shared, const void* from_global, bool wanted) {
#ifdef SINKSTREAM_CUDA_EMULATED
  emulation::copy_async(to_shared, from_global, 8, wanted);
#else
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(to_shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(from_global), "r"(wanted ? 8 : 0)
               : "memory");
#endif
}

#ifndef SINKSTREAM_CUDA_EMULATED
__device__ inline void copy_async_16(SharedAddress to, const void* from_global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from_global) : "memory");
}
#endif

// Closes a group of the copies begun since the last.
__device__ inline void commit_copies() {
#ifdef SINKSTREAM_CUDA_EMULATED
  emulation::commit_copies();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Returns when all but the newest kPending groups of this thread's copies are there; __syncthreads() then
// shows them to the block.
template <int kPending>
__device__ inline void wait_for_copies() {
#ifdef SINKSTREAM_CUDA_EMULATED
  emulation::wait_for_copies(kPending);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// Between GPUs and the host: whoever loads the value sees all that was written before the store, by other
// threads of the block too if they came to a barrier between.
__device__ inline void store_release_system(std::uint64_t* to, std::uint64_t value) {
#ifdef SINKSTREAM_CUDA_EMULATED
  std::atomic_ref(*to).store(value, std::memory_order_release);
#else
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(to), "l"(value) : "memory");
#endif
}
__device__ inline std::uint64_t load_acquire_system(const std::uint64_t* from) {
#ifdef SINKSTREAM_CUDA_EMULATED
  return std::atomic_ref(*const_cast<std::uint64_t*>(from)).load(std::memory_order_acquire);
#else
  std::uint64_t value;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(from) : "memory");
  return value;
#endif
}

// Where a kernel asks again for what another GPU's is to write.
__device__ inline void pause_for_peers() {
#ifdef SINKSTREAM_CUDA_EMULATED
  emulation::wait_for_peers();
#endif
}

// Of a clock that does not stop; it moves on by a microsecond or less at a time.
__device__ inline std::uint64_t nanoseconds_now() {
#ifdef SINKSTREAM_CUDA_EMULATED
  return emulation::nanoseconds();
#else
  std::uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
#endif
}

// 16 bytes that are read once by this kernel, so they should not push out what caches hold. A kernel before
// it, which may have been running still when this one began, may have written them.
__device__ inline uint4 load_streaming(const uint4* from) {
#ifdef SINKSTREAM_CUDA_EMULATED
  return *from;
#else
  uint4 value;
  asm volatile("ld.global.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(from));
  return value;
#endif
}

}  // namespace sinkstream::kernels::cuda
