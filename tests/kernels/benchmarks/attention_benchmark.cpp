#include <cmath>

#include "tests/kernels/benchmarks/bench_backend.h"
#include "tests/kernels/device_cache.h"

namespace sinkstream::kernels {
namespace {

// TinyLlama's heads, far out in sessions whose windows are full.
constexpr HeadShard kShard = {.local_heads = 32, .group_size = 8, .local_kv_heads = 4};
constexpr int kHeadDim = 64;
constexpr std::int64_t kSinks = 4, kWindow = 2044, kSlack = 256, kPosition = 100'000;
constexpr std::int64_t kWidth = std::int64_t{kShard.local_heads} * kHeadDim;

std::vector<AttentionRow> rows_of(std::int64_t slots, std::int64_t rows) {
  std::vector<AttentionRow> all;
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    for (std::int64_t i = 0; i < rows; ++i) {
      all.push_back(row_at(static_cast<std::int32_t>(slot), kPosition + i, kSinks, kWindow));
    }
  }
  return all;
}

DeviceCache empty_cache(Backend& backend, CacheType type, std::int64_t slots) {
  return {backend,
          {type, static_cast<int>(slots), kShard.local_kv_heads, kSinks, kWindow + kSlack, kHeadDim}};
}

// Positions [begin, end) of each slot.
void store(Backend& backend, const DeviceCache& cache, std::int64_t slots, std::int64_t begin,
           std::int64_t end) {
  std::vector<AttentionRow> rows;
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    for (std::int64_t p = begin; p < end; ++p)
      rows.push_back(row_at(static_cast<std::int32_t>(slot), p, kSinks, kWindow));
  }
  Random random(static_cast<std::uint32_t>(begin));
  const std::int64_t width = std::int64_t{kShard.local_kv_heads} * kHeadDim;
  store_on(backend, rows, random.matrix(std::ssize(rows), width), random.matrix(std::ssize(rows), width),
           cache.view());
}

// A row of each slot, or a chunk of a prompt in one.
void attention(benchmark::State& state, CacheType type) {
  Backend& backend = bench_backend();
  const std::int64_t slots = state.range(0), rows_each = state.range(1);
  const DeviceCache cache = empty_cache(backend, type, slots);
  store(backend, cache, slots, 0, kSinks);
  for (std::int64_t p = kPosition - kWindow; p < kPosition + rows_each; p += kSlack) {
    store(backend, cache, slots, p, std::min(p + kSlack, kPosition + rows_each));
  }
  const std::vector<AttentionRow> rows = rows_of(slots, rows_each);
  const OnDevice<AttentionRow> of_rows(backend, rows);
  Random random(2);
  const DeviceTensor window(backend, random.matrix(std::ssize(rows), kWidth));
  const DeviceTensor sink(backend, random.matrix(std::ssize(rows), kWidth));
  const DeviceTensor out(backend, std::ssize(rows), kWidth);
  const double kept = static_cast<double>(kSinks + kWindow);
  const double read = static_cast<double>(slots * kShard.local_kv_heads) * kept * 2 *
                      static_cast<double>(ring_head_bytes(type, kHeadDim));
  time_calls(state, {read, static_cast<double>(std::ssize(rows) * kWidth) * kept * 4}, [&] {
    backend.attention(of_rows, window, sink, cache.view(), kShard,
                      1 / std::sqrt(static_cast<float>(kHeadDim)), {}, out);
  });
}

void slots_and_rows(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"slots", "rows"})
      ->Args({1, 1})
      ->Args({16, 1})
      ->Args({1, 128})
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}
BENCHMARK_CAPTURE(attention, f32, CacheType::f32)->Apply(slots_and_rows);
BENCHMARK_CAPTURE(attention, bf16, CacheType::bf16)->Apply(slots_and_rows);
BENCHMARK_CAPTURE(attention, int8, CacheType::int8)->Apply(slots_and_rows);

// A chunk of a prompt; what is stored is written over at each call.
void rotate_and_store(benchmark::State& state, CacheType type) {
  Backend& backend = bench_backend();
  const DeviceCache cache = empty_cache(backend, type, 1);
  const std::vector<AttentionRow> rows = rows_of(1, state.range(0));
  const OnDevice<AttentionRow> of_rows(backend, rows);
  Random random(3);
  const DeviceTensor qkv(backend,
                         random.matrix(std::ssize(rows), kWidth + 2 * kShard.local_kv_heads * kHeadDim));
  const DeviceTensor angles(backend, random.matrix(std::ssize(rows), kHeadDim / 2));
  const DeviceTensor window(backend, std::ssize(rows), kWidth), sink(backend, std::ssize(rows), kWidth);
  time_calls(state, {bytes_of(qkv) + bytes_of(window) + bytes_of(sink)}, [&] {
    backend.rotate_and_store(qkv, {angles, angles, angles, angles}, of_rows, kShard, cache.view(), window,
                             sink);
  });
}
BENCHMARK_CAPTURE(rotate_and_store, f32, CacheType::f32)->ArgName("rows")->Arg(1)->Arg(128)->UseRealTime();
BENCHMARK_CAPTURE(rotate_and_store, bf16, CacheType::bf16)->ArgName("rows")->Arg(1)->Arg(128)->UseRealTime();
BENCHMARK_CAPTURE(rotate_and_store, int8, CacheType::int8)->ArgName("rows")->Arg(1)->Arg(128)->UseRealTime();

void rotary_angles(benchmark::State& state) {
  Backend& backend = bench_backend();
  std::vector<std::int64_t> at(static_cast<std::size_t>(state.range(0)));
  for (std::size_t i = 0; i < at.size(); ++i) at[i] = kPosition + static_cast<std::int64_t>(i);
  const OnDevice<std::int64_t> positions(backend, at);
  const OnDevice<float> frequencies(backend, std::vector<float>(kHeadDim / 2, 0.37f));
  const DeviceTensor cosines(backend, state.range(0), kHeadDim / 2),
      sines(backend, state.range(0), kHeadDim / 2);
  time_calls(state, {bytes_of(cosines) + bytes_of(sines)},
             [&] { backend.rotary_angles(positions, frequencies, cosines, sines); });
}
BENCHMARK(rotary_angles)->ArgName("rows")->Arg(1)->Arg(128)->UseRealTime();

}  // namespace
}  // namespace sinkstream::kernels
