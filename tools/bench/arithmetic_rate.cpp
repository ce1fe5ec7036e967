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

// The compiler may not leave anything out, nor move it, nor keep sums in memory: all chains are one `asm`.
#define SINKSTREAM_FMA(sum) "vfmadd231ps %[factor], %[factor], %[" #sum "]\n\t"
#define SINKSTREAM_PAIRS_AND_ADD(sum) \
  "vpmaddwd %[factor], %[factor], %[product]\n\tvpaddd %[product], %[" #sum "], %[" #sum "]\n\t"
#define SINKSTREAM_BF16_PAIRS(sum) "vdpbf16ps %[factor], %[factor], %[" #sum "]\n\t"
#define SINKSTREAM_INT16_PAIRS(sum) "vpdpwssd %[factor], %[factor], %[" #sum "]\n\t"

#define SINKSTREAM_RATE_LOOP(name, targets, Vector, zero, STEP)                                           \
  __attribute__((target(targets))) void name() {                                                          \
    const Vector factor = zero;                                                                           \
    Vector product;                                                                                       \
    Vector a = zero, b = zero, c = zero, d = zero, e = zero, f = zero, g = zero, h = zero, i = zero,      \
           j = zero, k = zero, l = zero;                                                                  \
    for (std::int64_t round = 0; round < kRounds; ++round) {                                              \
      asm volatile(                                                                                       \
          STEP(a) STEP(b) STEP(c) STEP(d) STEP(e) STEP(f) STEP(g) STEP(h) STEP(i) STEP(j) STEP(k) STEP(l) \
          : [product] "=&v"(product), [a] "+v"(a), [b] "+v"(b), [c] "+v"(c), [d] "+v"(d), [e] "+v"(e),    \
            [f] "+v"(f), [g] "+v"(g), [h] "+v"(h), [i] "+v"(i), [j] "+v"(j), [k] "+v"(k), [l] "+v"(l)     \
          : [factor] "v"(factor));                                                                        \
    }                                                                                                     \
  }

SINKSTREAM_RATE_LOOP(fma_256, "avx2,fma", __m256, _mm256_setzero_ps(), SINKSTREAM_FMA)
SINKSTREAM_RATE_LOOP(int16_256, "avx2", __m256i, _mm256_setzero_si256(), SINKSTREAM_PAIRS_AND_ADD)
SINKSTREAM_RATE_LOOP(fma_512, "avx512f", __m512, _mm512_setzero_ps(), SINKSTREAM_FMA)
SINKSTREAM_RATE_LOOP(bf16_512, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(), SINKSTREAM_BF16_PAIRS)
SINKSTREAM_RATE_LOOP(int16_512, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), SINKSTREAM_INT16_PAIRS)

#undef SINKSTREAM_FMA
#undef SINKSTREAM_PAIRS_AND_ADD
#undef SINKSTREAM_BF16_PAIRS
#undef SINKSTREAM_INT16_PAIRS
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
