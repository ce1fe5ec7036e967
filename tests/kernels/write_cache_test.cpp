#include <algorithm>

#include "cache_storage.h"
#include "kernels/cpu/reference.h"

namespace sinkstream::kernels {
namespace {

std::vector<float> widened(const std::vector<bfloat16>& values) {
  std::vector<float> wide;
  for (const bfloat16 value : values) wide.push_back(to_float(value));
  return wide;
}

void expect_same_cache(const CacheStorage& actual, const CacheStorage& expected) {
  expect_same_bits(actual.sink_keys, expected.sink_keys);
  expect_same_bits(actual.sink_values, expected.sink_values);
  expect_same_bits(actual.ring_keys, expected.ring_keys);
  expect_same_bits(actual.ring_values, expected.ring_values);
  expect_same_bits(widened(actual.narrow_ring_keys), widened(expected.narrow_ring_keys));
  expect_same_bits(widened(actual.narrow_ring_values), widened(expected.narrow_ring_values));
}

TEST(WriteCache, IsExactForAnyNumberOfThreads) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const std::int64_t sinks : {0, 1, 5, 40}) {
      const CacheShape shape{dtype, 3, 4, sinks, 31, 130};
      SCOPED_TRACE(testing::Message() << name_of(dtype) << ", " << sinks << " sinks");
      // Positions that start, fill, wrap and lie far out, in several slots.
      std::vector<AttentionRow> rows;
      for (int p = 0; p < 70; ++p) rows.push_back(row_at(p % 3, p / 3, sinks, 7));
      for (const std::int64_t p : {100, 4'000'000, 4'000'030}) rows.push_back(row_at(1, p, sinks, 7));
      Random random(21);
      const std::int64_t count = std::ssize(rows);
      const Tensor keys = random.matrix(count, 4 * 130);
      const Tensor values = random.matrix(count, 4 * 130 + 9);

      CacheStorage expected(shape);
      reference::write_cache(rows, keys, values, 6, expected.view());
      for (const int threads : {1, 2, 3}) {
        ThreadPool pool(threads);
        Context context{pool};
        CacheStorage actual(shape);
        write_cache(context, rows, keys, values, 6, actual.view());
        expect_same_cache(actual, expected);
      }
    }
  }
}

TEST(WriteCache, PutsAPositionIntoItsRingSlotAndTheSinks) {
  CacheStorage cache({DType::f32, 2, 1, 3, 5, 2});
  ThreadPool threads(1);
  Context context{threads};
  const std::vector<AttentionRow> rows = {row_at(1, 2, 3, 4), row_at(1, 7, 3, 4), row_at(0, 3, 3, 4)};
  Tensor keys(3, 2);
  Tensor values(3, 2);
  keys.data = {1, 2, 3, 4, 5, 6};
  values.data = {7, 8, 9, 10, 11, 12};
  write_cache(context, rows, keys, values, 0, cache.view());
  // Slot 1, position 2: both. Position 7 = 2 mod 5 then takes its place in the ring.
  EXPECT_EQ(cache.sink_keys[(3 + 2) * 2], 1);
  EXPECT_EQ(cache.sink_values[(3 + 2) * 2 + 1], 8);
  EXPECT_EQ(cache.ring_keys[(5 + 2) * 2], 3);
  EXPECT_EQ(cache.ring_values[(5 + 2) * 2 + 1], 10);
  // Slot 0, position 3: not a sink.
  EXPECT_EQ(cache.ring_keys[3 * 2 + 1], 6);
  EXPECT_EQ(std::ranges::count(cache.sink_keys, 5.0f), 0);
}

}  // namespace
}  // namespace sinkstream::kernels
