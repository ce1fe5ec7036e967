// CUDA's functions that C++ doesn't have. Those at which threads wait for each other take the place of the
// call, so that it is an error to come to one from different places: only whole warps that go the same way
// may.
#pragma once

#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <span>
#include <string>
#include <thread>
#include <type_traits>

#include "tests/kernels/emulation/language.h"
#include "tests/kernels/emulation/multiprocessor.h"

namespace sinkstream::kernels::cuda::emulation {

template <typename T>
struct Shuffle {
  T value;
  int source;  // lane
  T result;
};

template <typename T>
__attribute__((no_sanitize_thread)) void complete_shuffle(std::span<void* const> payloads) {
  for (void* const payload : payloads) {
    auto* const mine = static_cast<Shuffle<T>*>(payload);
    mine->result = static_cast<const Shuffle<T>*>(payloads[static_cast<std::size_t>(mine->source)])->value;
  }
}

template <typename T>
inline constexpr Meeting kShuffle{"a shuffle", false, complete_shuffle<T>};

struct Vote {
  int value;
  unsigned lanes;  // whose value isn't 0
};

void complete_vote(std::span<void* const> payloads);

inline constexpr Meeting kVote{"a vote", false, complete_vote};
inline constexpr Meeting kSyncWarp{"__syncwarp", false, [](std::span<void* const>) {}};
inline constexpr Meeting kSyncThreads{"__syncthreads", true, [](std::span<void* const>) {}};

void complete_count(std::span<void* const> payloads);

// Of the threads of a block: each brings a number that isn't 0 or is, and takes how many aren't.
inline constexpr Meeting kSyncThreadsCount{"__syncthreads_count", true, complete_count};

inline int lane_of_this_thread() {
  const uint3& index = current->thread_index;
  const dim3& size = current->grid->threads;
  return static_cast<int>(((index.z * size.y + index.y) * size.x + index.x) % kLanes);
}

inline void require_whole_warp(unsigned mask, const char* name) {
  if (mask != 0xffffffffu) throw KernelFailure(std::string(name) + " with a mask that is not the whole warp");
}

template <typename T>
T shuffle(unsigned mask, T value, int source, const std::source_location& where) {
  static_assert(std::is_arithmetic_v<T>);
  require_whole_warp(mask, "a shuffle");
  Shuffle<T> mine{value, source, T{}};
  meet(kShuffle<T>, &mine, where);
  return mine.result;
}

inline unsigned vote(unsigned mask, int value, const std::source_location& where) {
  require_whole_warp(mask, "a vote");
  Vote mine{value, 0};
  meet(kVote, &mine, where);
  return mine.lanes;
}

inline int count_of_block(int value, const std::source_location& where) {
  int count = value != 0 ? 1 : 0;
  meet(kSyncThreadsCount, &count, where);
  return count;
}

// ptx.h says what these do.
void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
              std::source_location where = std::source_location::current());
inline void copy_async(void* to_shared, const void* from_global, std::size_t bytes, bool wanted) {
  current->copies.add(to_shared, from_global, bytes, wanted);
}
inline void commit_copies() {
  current->copies.commit();
}
inline void wait_for_copies(int pending_groups) {
  current->copies.wait(pending_groups);
}
inline std::uint64_t nanoseconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(now).count());
}

}  // namespace sinkstream::kernels::cuda::emulation

#define SINKSTREAM_WHERE std::source_location where = std::source_location::current()

// ---- Of a block

inline void __syncthreads(SINKSTREAM_WHERE) {
  using namespace sinkstream::kernels::cuda::emulation;
  meet(kSyncThreads, nullptr, where);
}
inline int __syncthreads_count(int value, SINKSTREAM_WHERE) {
  return sinkstream::kernels::cuda::emulation::count_of_block(value, where);
}
inline int __syncthreads_or(int value, SINKSTREAM_WHERE) {
  return sinkstream::kernels::cuda::emulation::count_of_block(value, where) != 0 ? 1 : 0;
}
inline int __syncthreads_and(int value, SINKSTREAM_WHERE) {
  return sinkstream::kernels::cuda::emulation::count_of_block(value == 0 ? 1 : 0, where) == 0 ? 1 : 0;
}

// ---- Of a warp

inline void __syncwarp(unsigned mask = 0xffffffffu, SINKSTREAM_WHERE) {
  using namespace sinkstream::kernels::cuda::emulation;
  require_whole_warp(mask, "__syncwarp");
  meet(kSyncWarp, nullptr, where);
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize, SINKSTREAM_WHERE) {
  using namespace sinkstream::kernels::cuda::emulation;
  const int mine = lane_of_this_thread();
  return shuffle(mask, value, mine / width * width + (lane & (width - 1)), where);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = warpSize, SINKSTREAM_WHERE) {
  using namespace sinkstream::kernels::cuda::emulation;
  const int mine = lane_of_this_thread();
  const int by = static_cast<int>(distance);
  return shuffle(mask, value, mine % width >= by ? mine - by : mine, where);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = warpSize, SINKSTREAM_WHERE) {
  using namespace sinkstream::kernels::cuda::emulation;
  const int mine = lane_of_this_thread();
  const int by = static_cast<int>(distance);
  return shuffle(mask, value, mine % width + by < width ? mine + by : mine, where);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize, SINKSTREAM_WHERE) {
  using namespace sinkstream::kernels::cuda::emulation;
  const int mine = lane_of_this_thread();
  const int source = mine ^ lane_mask;  // a lane of a group after its own can't be seen, one before it can
  return shuffle(mask, value, source / width <= mine / width ? source : mine, where);
}
inline unsigned __ballot_sync(unsigned mask, int value, SINKSTREAM_WHERE) {
  return sinkstream::kernels::cuda::emulation::vote(mask, value, where);
}
inline int __any_sync(unsigned mask, int value, SINKSTREAM_WHERE) {
  return sinkstream::kernels::cuda::emulation::vote(mask, value, where) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int value, SINKSTREAM_WHERE) {
  return sinkstream::kernels::cuda::emulation::vote(mask, value, where) == 0xffffffffu ? 1 : 0;
}

#undef SINKSTREAM_WHERE

// ---- Memory

// Not a fence of C++, which the thread sanitizer doesn't know.
inline void __threadfence_system() {
  static std::atomic<int> fence{0};
  fence.fetch_add(0);
}
inline void __threadfence() {
  __threadfence_system();
}
inline void __threadfence_block() {
  __threadfence_system();
}
inline void __nanosleep(unsigned /*nanoseconds*/) {
  std::this_thread::yield();
}
[[noreturn]] inline void __trap() {
  throw sinkstream::kernels::cuda::emulation::KernelFailure("__trap");
}

template <typename T>
T __ldg(const T* from) {
  return *from;
}
template <typename T>
T __ldcs(const T* from) {
  return *from;
}
template <typename T>
T __ldcg(const T* from) {
  return *from;
}
template <typename T>
void __stcs(T* to, T value) {
  *to = value;
}
template <typename T>
void __stcg(T* to, T value) {
  *to = value;
}

// Not for floats: their sum depends on the order.
#define SINKSTREAM_EMULATED_ATOMICS(T)                                               \
  inline T atomicAdd(T* at, T value) {                                               \
    return std::atomic_ref(*at).fetch_add(value);                                    \
  }                                                                                  \
  inline T atomicExch(T* at, T value) {                                              \
    return std::atomic_ref(*at).exchange(value);                                     \
  }                                                                                  \
  inline T atomicCAS(T* at, T compare, T value) {                                    \
    std::atomic_ref(*at).compare_exchange_strong(compare, value);                    \
    return compare;                                                                  \
  }                                                                                  \
  inline T atomicMax(T* at, T value) {                                               \
    T old = std::atomic_ref(*at).load();                                             \
    while (old < value && !std::atomic_ref(*at).compare_exchange_weak(old, value)) { \
    }                                                                                \
    return old;                                                                      \
  }                                                                                  \
  inline T atomicMin(T* at, T value) {                                               \
    T old = std::atomic_ref(*at).load();                                             \
    while (old > value && !std::atomic_ref(*at).compare_exchange_weak(old, value)) { \
    }                                                                                \
    return old;                                                                      \
  }                                                                                  \
  inline T atomicOr(T* at, T value) {                                                \
    return std::atomic_ref(*at).fetch_or(value);                                     \
  }                                                                                  \
  inline T atomicAnd(T* at, T value) {                                               \
    return std::atomic_ref(*at).fetch_and(value);                                    \
  }

SINKSTREAM_EMULATED_ATOMICS(int)
SINKSTREAM_EMULATED_ATOMICS(unsigned)
SINKSTREAM_EMULATED_ATOMICS(unsigned long long)
#undef SINKSTREAM_EMULATED_ATOMICS

// ---- Bits

inline unsigned __float_as_uint(float value) {
  return std::bit_cast<unsigned>(value);
}
inline int __float_as_int(float value) {
  return std::bit_cast<int>(value);
}
inline float __uint_as_float(unsigned bits) {
  return std::bit_cast<float>(bits);
}
inline float __int_as_float(int bits) {
  return std::bit_cast<float>(bits);
}
inline long long __double_as_longlong(double value) {
  return std::bit_cast<long long>(value);
}
inline double __longlong_as_double(long long bits) {
  return std::bit_cast<double>(bits);
}
inline int __popc(unsigned value) {
  return std::popcount(value);
}
inline int __popcll(unsigned long long value) {
  return std::popcount(value);
}
inline int __clz(int value) {
  return std::countl_zero(static_cast<unsigned>(value));
}
inline int __clzll(long long value) {
  return std::countl_zero(static_cast<unsigned long long>(value));
}
inline int __ffs(int value) {
  return value == 0 ? 0 : std::countr_zero(static_cast<unsigned>(value)) + 1;
}
inline int __ffsll(long long value) {
  return value == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(value)) + 1;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((std::uint64_t{a} * b) >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>((static_cast<Wide>(a) * b) >> 64);
}
// Byte i of the result is byte (selector >> 4i) & 7 of y:x; bit 3 of a selector spreads the byte's sign.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const std::uint64_t both = std::uint64_t{y} << 32 | x;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned which = selector >> (4 * i) & 0xf;
    auto byte = static_cast<unsigned>(both >> (8 * (which & 7))) & 0xff;
    if (which & 8) byte = byte & 0x80 ? 0xff : 0;
    result |= byte << (8 * i);
  }
  return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) << (by & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) >> (by & 31));
}

// ---- Arithmetic

using std::isfinite;
using std::isinf;
using std::isnan;

inline float __fmaf_rn(float a, float b, float c) {
  return std::fma(a, b, c);
}
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fsub_rn(float a, float b) {
  return a - b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float __frcp_rn(float a) {
  return 1.0f / a;
}
inline float __fsqrt_rn(float a) {
  return std::sqrt(a);
}
inline double __dadd_rn(double a, double b) {
  return a + b;
}
inline double __dmul_rn(double a, double b) {
  return a * b;
}
inline double __fma_rn(double a, double b, double c) {
  return std::fma(a, b, c);
}
inline float __expf(float a) {
  return std::exp(a);
}
inline float __logf(float a) {
  return std::log(a);
}
inline float __log2f(float a) {
  return std::log2(a);
}
inline float __double2float_rn(double a) {
  return static_cast<float>(a);
}
inline int __float2int_rn(float a) {
  return static_cast<int>(std::nearbyint(a));
}
inline float __int2float_rn(int a) {
  return static_cast<float>(a);
}
inline float __saturatef(float a) {
  return a > 0 ? (a < 1 ? a : 1.0f) : 0.0f;
}

#define SINKSTREAM_EMULATED_MIN_MAX(T) \
  constexpr T min(T a, T b) {          \
    return b < a ? b : a;              \
  }                                    \
  constexpr T max(T a, T b) {          \
    return a < b ? b : a;              \
  }
SINKSTREAM_EMULATED_MIN_MAX(int)
SINKSTREAM_EMULATED_MIN_MAX(unsigned)
SINKSTREAM_EMULATED_MIN_MAX(long)
SINKSTREAM_EMULATED_MIN_MAX(unsigned long)
SINKSTREAM_EMULATED_MIN_MAX(long long)
SINKSTREAM_EMULATED_MIN_MAX(unsigned long long)
#undef SINKSTREAM_EMULATED_MIN_MAX
inline float min(float a, float b) {  // as fminf: NaN loses
  return std::fmin(a, b);
}
inline float max(float a, float b) {
  return std::fmax(a, b);
}
inline double min(double a, double b) {
  return std::fmin(a, b);
}
inline double max(double a, double b) {
  return std::fmax(a, b);
}

namespace sinkstream::kernels::cuda {

// Newer C libraries have these too, at the top.
inline float rsqrtf(float a) {
  return 1.0f / std::sqrt(a);
}
inline double rsqrt(double a) {
  return 1.0 / std::sqrt(a);
}

}  // namespace sinkstream::kernels::cuda
