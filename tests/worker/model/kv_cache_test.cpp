#include "worker/model/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "base/error.h"
#include "tests/kernels/resident_bytes.h"
#include "tests/worker/model/support/host_backend.h"

namespace sinkstream {
namespace {

using kernels::CacheLayerView;
using kernels::DType;

ModelConfig small_config() {
  ModelConfig config;
  config.num_layers = 3;
  config.num_heads = 6;
  config.num_kv_heads = 3;
  config.intermediate_size = 8;
  config.head_dim = 10;
  return config;
}

ShardPlan plan_of(const ModelConfig& config) {
  return make_shard_plan(config.shard_sizes(), 1, 0);
}

std::size_t elements(const CacheLayerView& layer, std::int64_t capacity) {
  return static_cast<std::size_t>(layer.num_slots * layer.local_kv_heads * capacity * layer.head_dim);
}

// Fills every byte of every array; two that overlap would show below.
void fill(const CacheLayerView& layer, float value) {
  std::fill_n(kernels::host_pointer<float>(layer.sink_keys), elements(layer, layer.sink_capacity), value);
  std::fill_n(kernels::host_pointer<float>(layer.sink_values), elements(layer, layer.sink_capacity),
              value + 1);
  std::fill_n(kernels::host_pointer<std::uint16_t>(layer.ring_keys), elements(layer, layer.ring_capacity),
              static_cast<std::uint16_t>(value + 2));
  std::fill_n(kernels::host_pointer<std::uint16_t>(layer.ring_values), elements(layer, layer.ring_capacity),
              static_cast<std::uint16_t>(value + 3));
}

// True when all that `slot` has in an array equals `expected`.
template <typename T>
bool slot_is(kernels::Address array, const CacheLayerView& layer, int slot, std::int64_t capacity,
             float expected) {
  const std::size_t size = elements(layer, capacity) / static_cast<std::size_t>(layer.num_slots);
  const T* begin = kernels::host_pointer<const T>(array) + static_cast<std::size_t>(slot) * size;
  return std::all_of(begin, begin + size, [expected](T value) { return value == static_cast<T>(expected); });
}

bool layer_slot_is(const CacheLayerView& layer, int slot, float value, float step) {
  return slot_is<float>(layer.sink_keys, layer, slot, layer.sink_capacity, value) &&
         slot_is<float>(layer.sink_values, layer, slot, layer.sink_capacity, value + step) &&
         slot_is<std::uint16_t>(layer.ring_keys, layer, slot, layer.ring_capacity, value + 2 * step) &&
         slot_is<std::uint16_t>(layer.ring_values, layer, slot, layer.ring_capacity, value + 3 * step);
}

// Slots of odd sizes, smaller and larger than a page, so that neighbours share pages.
TEST(KvCache, ReleaseZeroesOneSlotAndNoOther) {
  const HostBackendAlone alone;
  const ModelConfig config = small_config();
  for (const std::int64_t ring : {7, 1001}) {
    KvCache cache(config, plan_of(config),
                  {.num_slots = 3, .sink_capacity = 5, .ring_capacity = ring, .type = DType::bf16},
                  *alone.backend);
    for (std::int64_t i = 0; i < config.num_layers; ++i) fill(cache.layer(i), static_cast<float>(10 * i + 1));
    cache.release(1);
    for (std::int64_t i = 0; i < config.num_layers; ++i) {
      const auto value = static_cast<float>(10 * i + 1);
      EXPECT_TRUE(layer_slot_is(cache.layer(i), 0, value, 1)) << ring;
      EXPECT_TRUE(layer_slot_is(cache.layer(i), 1, 0, 0)) << ring;
      EXPECT_TRUE(layer_slot_is(cache.layer(i), 2, value, 1)) << ring;
    }
  }
}

TEST(KvCache, ArraysAreAlignedAndZero) {
  const HostBackendAlone alone;
  const ModelConfig config = small_config();
  const KvCache cache(config, plan_of(config), {.num_slots = 1, .sink_capacity = 3, .ring_capacity = 11},
                      *alone.backend);
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    const CacheLayerView& layer = cache.layer(i);
    for (const kernels::Address array :
         {layer.sink_keys, layer.sink_values, layer.ring_keys, layer.ring_values}) {
      EXPECT_EQ(static_cast<std::uintptr_t>(array) % 64, 0u);
    }
    EXPECT_TRUE(slot_is<float>(layer.ring_values, layer, 0, 11, 0));
  }
}

// Room for a terabyte is nothing until it is written, and nothing again after release.
TEST(KvCache, MemoryIsTakenWhenTouchedAndGivenBack) {
  const HostBackendAlone alone;
  const ModelConfig config = small_config();
  KvCache cache(config, plan_of(config), {.num_slots = 4, .ring_capacity = std::int64_t{1} << 30},
                *alone.backend);
  const CacheLayerView& layer = cache.layer(2);
  const kernels::Address slot =
      layer.ring_keys + (std::int64_t{3} * 10 << 30) * 2 * std::int64_t{sizeof(float)};
  constexpr std::size_t kTouched = 64 << 20;
  EXPECT_LT(kernels::resident_bytes(slot, kTouched), 4 << 20);
  std::fill_n(kernels::host_pointer<float>(slot), kTouched / sizeof(float), 1.0f);
  EXPECT_GE(kernels::resident_bytes(slot, kTouched), static_cast<std::int64_t>(kTouched));
  cache.release(2);
  EXPECT_LT(kernels::resident_bytes(slot, kTouched), 4 << 20);
  EXPECT_EQ(*kernels::host_pointer<float>(slot), 0.0f);
}

TEST(KvCache, BytesPerSlot) {
  const ModelConfig config = small_config();
  const ShardPlan shard = make_shard_plan(config.shard_sizes(), 2, 1);  // heads 3 ... 5: KV heads 1 and 2
  ASSERT_EQ(shard.kv_heads.size(), 2);
  const std::int64_t heads_and_layers = 3 * 2 * 2 * 10;
  EXPECT_EQ(
      cache_bytes_per_slot(config, shard, {.sink_capacity = 4, .ring_capacity = 100, .type = DType::bf16}),
      heads_and_layers * (4 * 4 + 100 * 2));
  EXPECT_EQ(
      cache_bytes_per_slot(config, shard, {.ring_capacity = std::numeric_limits<std::int64_t>::max() / 2}),
      std::numeric_limits<std::int64_t>::max());
}

TEST(KvCache, MemoryThatIsNotToBeHadIsToldOfWithWhatHelps) {
  const HostBackendAlone alone;
  const ModelConfig config = small_config();
  const auto complaint = [&](const KvCacheSizes& sizes) -> std::string {
    try {
      KvCache(config, plan_of(config), sizes, *alone.backend);
      return "(accepted)";
    } catch (const StartupError& error) {
      EXPECT_EQ(error.code(), ExitCode::device);
      return error.what();
    }
  };
  const std::int64_t slots = 2, ring = std::int64_t{1} << 41;
  const std::int64_t bytes = slots * 3 * 3 * 2 * 10 * ring * 4 + 3 * 4 * 64;  // and room to align arrays
  EXPECT_EQ(complaint({.num_slots = slots, .ring_capacity = ring, .type = DType::f32}),
            "the cache of 2 sessions: needs " + std::to_string(bytes) +
                " bytes on this rank: Cannot allocate memory; lower cache.slots or the cache's size");
  EXPECT_EQ(complaint({.num_slots = 1000, .ring_capacity = std::int64_t{1} << 50, .type = DType::f32}),
            "the cache of 1000 sessions: needs 9223372036854775807 bytes on this rank: more than can be "
            "addressed; lower cache.slots or the cache's size");
}

TEST(KvCache, RefusesSizesThatCannotBe) {
  const HostBackendAlone alone;
  const ModelConfig config = small_config();
  for (const KvCacheSizes& sizes : {KvCacheSizes{.num_slots = 0}, KvCacheSizes{.sink_capacity = -1},
                                    KvCacheSizes{.ring_capacity = 0}, KvCacheSizes{.type = DType::f16}}) {
    EXPECT_THROW(KvCache(config, plan_of(config), sizes, *alone.backend), std::invalid_argument);
  }
  KvCache cache(config, plan_of(config), {.num_slots = 2}, *alone.backend);
  EXPECT_THROW(cache.release(2), std::invalid_argument);
  EXPECT_THROW(cache.release(-1), std::invalid_argument);
}

}  // namespace
}  // namespace sinkstream
