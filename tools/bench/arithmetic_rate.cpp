#include "tools/bench/arithmetic_rate.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "kernels/x86_intrinsics.h"

namespace sinkstream::bench {
namespace {

constexpr int kTries = 5;
constexpr std::int64_t kRounds = 4'000'000;
constexpr int kChains =
    12;  // that do not wait for each other: more than an instruction takes cycles, in pairs

struct Loop {
  const char* instruction;
  int operations;  // of one step of a chain
  void (*run)();   // kRounds times kChains of it
};

#ifdef __x86_64__

// The compiler may not leave anything out, nor move it, so each step of a chain is one `asm` on a register.
#define SINKSTREAM_RATE_LOOP(name, targets, Vector, zero, step)          \
  __attribute__((target(targets))) void name() {                         \
    Vector sums[kChains], product = zero;                                \
    const Vector factor = zero;                                          \
    for (Vector & sum : sums) sum = zero;                                \
    for (std::int64_t i = 0; i < kRounds; ++i) {                         \
      _Pragma("GCC unroll 12") for (int c = 0; c < kChains; ++c) {       \
        asm volatile(step : "+v"(sums[c]), "+v"(product) : "v"(factor)); \
      }                                                                  \
    }                                                                    \
  }

SINKSTREAM_RATE_LOOP(fma_256, "avx2,fma", __m256, _mm256_setzero_ps(), "vfmadd231ps %2, %2, %0")
SINKSTREAM_RATE_LOOP(int16_256, "avx2", __m256i, _mm256_setzero_si256(),
                     "vpmaddwd %2, %2, %1\n\tvpaddd %1, %0, %0")
SINKSTREAM_RATE_LOOP(fma_512, "avx512f", __m512, _mm512_setzero_ps(), "vfmadd231ps %2, %2, %0")
SINKSTREAM_RATE_LOOP(bf16_512, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(), "vdpbf16ps %2, %2, %0")
SINKSTREAM_RATE_LOOP(int16_512, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), "vpdpwssd %2, %2, %0")

#undef SINKSTREAM_RATE_LOOP

Loop loop_for(kernels::WeightFormat format) {
  const bool has_dot_units = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
  if (has_dot_units && kernels::is_quantized(format)) return {"vpdpwssd, 512 bits", 64, int16_512};
  if (has_dot_units && format == kernels::WeightFormat::bf16) return {"vdpbf16ps, 512 bits", 64, bf16_512};
  if (__builtin_cpu_supports("avx512f")) return {"vfmadd231ps, 512 bits", 32, fma_512};
  if (__builtin_cpu_supports("avx2") && kernels::is_quantized(format)) {
    return {"vpmaddwd and vpaddd, 256 bits", 32, int16_256};
  }
  if (__builtin_cpu_supports("fma")) return {"vfmadd231ps, 256 bits", 16, fma_256};
  return {};
}

#else

Loop loop_for(kernels::WeightFormat) {
  return {};
}

#endif

}  // namespace

ArithmeticRate arithmetic_rate(int threads, kernels::WeightFormat format) {
  const Loop loop = loop_for(format);
  if (loop.run == nullptr) return {};
  const double operations =
      static_cast<double>(threads) * static_cast<double>(kRounds) * kChains * loop.operations;
  double best = 0;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> workers;
    for (int i = 0; i < threads; ++i) workers.emplace_back(loop.run);
    for (std::thread& worker : workers) worker.join();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, operations / seconds);
  }
  return {loop.instruction, best};
}

}  // namespace sinkstream::bench
