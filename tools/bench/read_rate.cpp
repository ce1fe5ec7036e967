#include "tools/bench/read_rate.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iterator>
#include <new>
#include <numeric>
#include <thread>
#include <vector>

namespace sinkstream::bench {
namespace {

constexpr std::size_t kBytesOfThread = 256 << 20;
constexpr int kTries = 5;
constexpr std::int64_t kWordsAhead = 512;  // that are asked for; beyond the memory's end that does nothing

// In huge pages where there are some, as weights are.
class Memory {
 public:
  Memory()
      : bytes_(mmap(nullptr, kBytesOfThread, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (bytes_ == MAP_FAILED) throw std::bad_alloc();
    madvise(bytes_, kBytesOfThread, MADV_HUGEPAGE);
  }
  ~Memory() { munmap(bytes_, kBytesOfThread); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void fill() const { std::memset(bytes_, 1, kBytesOfThread); }
  const std::uint64_t* words() const { return static_cast<const std::uint64_t*>(bytes_); }

 private:
  void* bytes_;
};

// Four of the widest vectors at once; narrow loads don't ask memory for as much.
#ifdef __x86_64__
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
std::uint64_t
combine(const std::uint64_t* words, std::int64_t count) {
  constexpr int kAtOnce = 32;
  std::uint64_t all[kAtOnce] = {};
  for (std::int64_t i = 0; i + kAtOnce <= count; i += kAtOnce) {
    for (int line = 0; line < kAtOnce; line += 8) __builtin_prefetch(words + i + kWordsAhead + line);
    for (int k = 0; k < kAtOnce; ++k) all[k] |= words[i + k];
  }
  return std::accumulate(std::begin(all), std::end(all), std::uint64_t{0}, std::bit_or());
}

}  // namespace

double read_rate(int threads) {
  const std::vector<Memory> memory(static_cast<std::size_t>(threads));
  double best = 0;
  for (int attempt = 0; attempt <= kTries; ++attempt) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> readers;
    for (const Memory& own : memory) {
      readers.emplace_back([&own, attempt] {
        if (attempt == 0) own.fill();  // by the thread that reads it: memory that is near
        volatile const std::uint64_t result = combine(own.words(), kBytesOfThread / sizeof(std::uint64_t));
        static_cast<void>(result);
      });
    }
    for (std::thread& reader : readers) reader.join();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (attempt > 0) best = std::max(best, static_cast<double>(threads) * kBytesOfThread / seconds);
  }
  return best;
}

}  // namespace sinkstream::bench
