#include <algorithm>

#include "tests/kernels/device_cache.h"

namespace sinkstream::kernels {
namespace {

class RotateAndStore : public OnEveryBackend {};

struct RotateCase {
  int heads;
  int kv_heads;
  int head_dim;
  int half;
};

HeadShard shard_of(const RotateCase& c) {
  return {.local_heads = c.heads, .group_size = c.heads / c.kv_heads, .local_kv_heads = c.kv_heads};
}

// Sessions that start, wrap around a ring of 31, and are far out and wrap; no two rows share a place.
std::vector<AttentionRow> some_rows(std::int64_t sinks) {
  std::vector<AttentionRow> rows;
  for (std::int64_t i = 0; i < 21; ++i) {
    rows.push_back(row_at(0, i, sinks, 7));
    rows.push_back(row_at(1, 25 + i, sinks, 7));
    rows.push_back(row_at(2, 4'000'010 + i, sinks, 7));
  }
  return rows;
}

void expect_close_arrays(const std::vector<float>& actual, const std::vector<float>& expected, double bound) {
  const auto size = std::ssize(actual);
  expect_close({actual.data(), 1, size}, {expected.data(), 1, std::ssize(expected)},
               [&](std::int64_t, std::int64_t i) { return expected[i] == kUnwritten ? 0 : bound; });
}

// Of numbers below 2 that are rounded from nearly the same.
double rounding_of(CacheType type) {
  switch (type) {
    case CacheType::f32:
      return 2 * kEpsilon;
    case CacheType::bf16:
      return 2 * 0x1p-8;
    case CacheType::int8:
      return 2.0 / 127 * (1 + 8 * kEpsilon);
  }
  return 0;
}

TEST_P(RotateAndStore, IsLikeTheReferenceForAnyNumberOfThreads) {
  const std::vector<RotateCase> cases = {{1, 1, 2, 1},   {4, 2, 8, 4}, {3, 3, 17, 3}, {4, 1, 64, 32},
                                         {6, 2, 65, 16}, {2, 1, 7, 3}, {3, 1, 10, 0}};
  for (const RotateCase& c : cases) {
    for (const CacheType type : ring_types(GetParam())) {
      for (const std::int64_t sinks : {0, 5, 40}) {
        SCOPED_TRACE(testing::Message() << c.heads << " heads of " << c.head_dim << ", half " << c.half
                                        << ", " << name_of(type) << ", " << sinks << " sinks");
        const CacheShape shape{type, 3, c.kv_heads, sinks, 31, c.head_dim};
        const std::vector<AttentionRow> rows = some_rows(sinks);
        Random random(11);
        const Tensor qkv = random.matrix(std::ssize(rows), (c.heads + 2 * c.kv_heads) * c.head_dim);
        const HostAngles angles(random, std::ssize(rows), c.half);

        const DeviceCache plain(reference(), shape);
        const Queries expected =
            rotate_and_store_on(reference(), qkv, angles, rows, shard_of(c), plain.view());
        for (const int threads : thread_counts()) {
          const auto several = on_threads(threads);
          const DeviceCache cache(*several, shape);
          const Queries actual = rotate_and_store_on(*several, qkv, angles, rows, shard_of(c), cache.view());
          // Two products and a sum of numbers below 1.
          const auto bound = [](std::int64_t, std::int64_t) { return 2 * kEpsilon; };
          expect_close(actual.window, expected.window, bound);
          expect_close(actual.sink, expected.sink, bound);
          expect_close_arrays(cache.sink_keys(), plain.sink_keys(), 2 * kEpsilon);
          expect_close_arrays(cache.ring_keys(), plain.ring_keys(), rounding_of(type));
          expect_same_bits(cache.sink_values(), plain.sink_values());
          expect_same_bits(cache.ring_values(), plain.ring_values());
        }
      }
    }
  }
}

TEST_P(RotateAndStore, ARowsBitsDependOnThatRowAlone) {
  const RotateCase c{6, 2, 65, 16};
  for (const CacheType type : ring_types(GetParam())) {
    const CacheShape shape{type, 3, c.kv_heads, 4, 31, c.head_dim};
    const std::vector<AttentionRow> rows = some_rows(4);
    Random random(13);
    const Tensor qkv = random.matrix(std::ssize(rows), (c.heads + 2 * c.kv_heads) * c.head_dim);
    const HostAngles angles(random, std::ssize(rows), c.half);
    const auto row_of = [](const Tensor& tensor, std::int64_t r) {
      Tensor row(1, tensor.cols);
      std::ranges::copy(tensor.row(r), row.data.begin());
      return row;
    };
    const DeviceCache alone(backend(), shape);
    std::vector<Queries> of_rows;
    for (std::int64_t r = 0; r < std::ssize(rows); ++r) {
      HostAngles own(1, c.half);
      own.true_cosines = row_of(angles.true_cosines, r);
      own.true_sines = row_of(angles.true_sines, r);
      own.cache_cosines = row_of(angles.cache_cosines, r);
      own.cache_sines = row_of(angles.cache_sines, r);
      of_rows.push_back(
          rotate_and_store_on(backend(), row_of(qkv, r), own, {rows[r]}, shard_of(c), alone.view()));
    }
    for (const int threads : thread_counts()) {
      const auto several = on_threads(threads);
      const DeviceCache cache(*several, shape);
      const Queries together = rotate_and_store_on(*several, qkv, angles, rows, shard_of(c), cache.view());
      for (std::int64_t r = 0; r < std::ssize(rows); ++r) {
        expect_same_bits(together.window.row(r), of_rows[r].window.data);
        expect_same_bits(together.sink.row(r), of_rows[r].sink.data);
      }
      expect_same_bits(cache.sink_keys(), alone.sink_keys());
      expect_same_bits(cache.sink_values(), alone.sink_values());
      expect_same_bits(cache.ring_keys(), alone.ring_keys());
      expect_same_bits(cache.ring_values(), alone.ring_values());
    }
  }
}

TEST_P(RotateAndStore, PutsAPositionIntoItsPlaceInTheRingAndTheSinks) {
  const DeviceCache cache(backend(), {CacheType::f32, 2, 1, 3, 5, 2});
  const auto store = [&](std::int32_t slot, std::int64_t position, const std::vector<float>& key,
                         const std::vector<float>& value) {
    Tensor keys(1, 2), values(1, 2);
    keys.data = key;
    values.data = value;
    store_on(backend(), {row_at(slot, position, 3, 4)}, keys, values, cache.view());
  };
  store(1, 2, {1, 2}, {7, 8});
  store(1, 7, {3, 4}, {9, 10});
  store(0, 3, {5, 6}, {11, 12});
  // Slot 1, position 2: both. Position 7 = 2 mod 5 then takes its place in the ring.
  EXPECT_EQ(cache.sink_keys()[(3 + 2) * 2], 1);
  EXPECT_EQ(cache.sink_values()[(3 + 2) * 2 + 1], 8);
  EXPECT_EQ(cache.ring_keys()[(5 + 2) * 2], 3);
  EXPECT_EQ(cache.ring_values()[(5 + 2) * 2 + 1], 10);
  // Slot 0, position 3: not a sink.
  EXPECT_EQ(cache.ring_keys()[3 * 2 + 1], 6);
  EXPECT_EQ(std::ranges::count(cache.sink_keys(), 5.0f), 0);
}

TEST_P(RotateAndStore, TurnsTheTwoHalvesOfAHeadTogetherAndCopiesTheRest) {
  const DeviceCache cache(backend(), {CacheType::f32, 1, 1, 1, 1, 6});
  Tensor qkv(1, 18);
  for (int i = 0; i < 18; ++i) qkv.data[i] = static_cast<float>(i + 1);
  HostAngles angles(1, 2);
  angles.true_sines = Tensor(1, 2, 1.0f);     // a quarter turn
  angles.cache_cosines = Tensor(1, 2, 1.0f);  // none
  const Queries queries =
      rotate_and_store_on(backend(), qkv, angles, {row_at(0, 0, 1, 1)}, {0, 1, 1, 0, 1}, cache.view());
  EXPECT_EQ(queries.window.data, (std::vector<float>{-3, -4, 1, 2, 5, 6}));
  EXPECT_EQ(queries.sink.data, (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(cache.ring_keys(), (std::vector<float>{-9, -10, 7, 8, 11, 12}));
  EXPECT_EQ(cache.sink_keys(), cache.ring_keys());
  EXPECT_EQ(cache.ring_values(), (std::vector<float>{13, 14, 15, 16, 17, 18}));
}

INSTANTIATE_ON_EVERY_BACKEND(RotateAndStore);

}  // namespace
}  // namespace sinkstream::kernels
