#include "worker/model/kv_cache.h"

#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/round_up.h"
#include "worker/model/with_advice.h"

namespace sinkstream {
namespace {

using kernels::CacheLayerView;

constexpr std::int64_t kAlignment = 64;      // a cache line
constexpr std::int64_t kArraysPerLayer = 4;  // keys and values of sinks and ring

// Both saturate: a size too large to count is too large to have.
std::int64_t product(std::initializer_list<std::int64_t> factors) {
  std::int64_t result = 1;
  for (const std::int64_t factor : factors) {
    if (__builtin_mul_overflow(result, factor, &result)) return std::numeric_limits<std::int64_t>::max();
  }
  return result;
}

std::int64_t sum(std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  return __builtin_add_overflow(a, b, &result) ? std::numeric_limits<std::int64_t>::max() : result;
}

// The whole cache, with room to align its arrays. Throws what a user can act on.
kernels::Buffer allocate(std::int64_t bytes, const KvCacheSizes& sizes, kernels::Backend& backend) {
  const std::string purpose = "the cache of " + std::to_string(sizes.num_slots) + " sessions";
  return with_advice("lower cache.slots or the cache's size",
                     [&] { return backend.allocate(bytes, purpose); });
}

const KvCacheSizes& checked(const KvCacheSizes& sizes) {
  if (sizes.num_slots < 1 || sizes.sink_capacity < 0 || sizes.ring_capacity < 1 ||
      sizes.type == kernels::DType::f16) {
    throw std::invalid_argument("KvCache: needs slots, a ring, and type f32 or bf16");
  }
  return sizes;
}

// Bytes of the keys, or of the values, of `capacity` tokens of one slot in one layer.
std::int64_t array_bytes(const ModelConfig& config, const ShardPlan& shard, std::int64_t capacity,
                         std::size_t element) {
  return product({capacity, shard.kv_heads.size(), config.head_dim, static_cast<std::int64_t>(element)});
}

}  // namespace

KvCacheSizes cache_sizes(const SessionShape& session, std::int32_t num_slots, kernels::DType type) {
  return {.num_slots = num_slots,
          .sink_capacity = session.sink_capacity,
          .ring_capacity = session.ring_capacity,
          .type = type};
}

std::int64_t cache_bytes_per_slot(const ModelConfig& config, const ShardPlan& shard,
                                  const KvCacheSizes& sizes) {
  const std::int64_t sink_bytes = product({sizes.sink_capacity, static_cast<std::int64_t>(sizeof(float))});
  const std::int64_t ring_bytes =
      product({sizes.ring_capacity, static_cast<std::int64_t>(size_of(sizes.type))});
  const std::int64_t keys_and_values = 2;
  return product({config.num_layers, shard.kv_heads.size(), keys_and_values, config.head_dim,
                  sum(sink_bytes, ring_bytes)});
}

KvCache::KvCache(const ModelConfig& config, const ShardPlan& shard, const KvCacheSizes& sizes,
                 kernels::Backend& backend)
    : backend_(backend),
      num_slots_(checked(sizes).num_slots),
      sink_slot_bytes_(array_bytes(config, shard, sizes.sink_capacity, sizeof(float))),
      ring_slot_bytes_(array_bytes(config, shard, sizes.ring_capacity, size_of(sizes.type))),
      memory_(allocate(sum(product({sizes.num_slots, cache_bytes_per_slot(config, shard, sizes)}),
                           config.num_layers * kArraysPerLayer * kAlignment),
                       sizes, backend)) {
  kernels::Address next = memory_.address();
  const auto take = [&](std::int64_t slot_bytes) {
    const std::int64_t bytes = num_slots_ * slot_bytes;
    return std::exchange(next, next + round_up(bytes, kAlignment));
  };
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    layers_.push_back({.sink_keys = take(sink_slot_bytes_),
                       .sink_values = take(sink_slot_bytes_),
                       .ring_keys = take(ring_slot_bytes_),
                       .ring_values = take(ring_slot_bytes_),
                       .ring_dtype = sizes.type,
                       .num_slots = sizes.num_slots,
                       .local_kv_heads = static_cast<int>(shard.kv_heads.size()),
                       .sink_capacity = sizes.sink_capacity,
                       .ring_capacity = sizes.ring_capacity,
                       .head_dim = static_cast<int>(config.head_dim)});
  }
}

void KvCache::release(std::int32_t slot) {
  if (slot < 0 || slot >= num_slots_) throw std::invalid_argument("KvCache: no such slot");
  for (const CacheLayerView& layer : layers_) {
    backend_.discard(layer.sink_keys + slot * sink_slot_bytes_, sink_slot_bytes_);
    backend_.discard(layer.sink_values + slot * sink_slot_bytes_, sink_slot_bytes_);
    backend_.discard(layer.ring_keys + slot * ring_slot_bytes_, ring_slot_bytes_);
    backend_.discard(layer.ring_values + slot * ring_slot_bytes_, ring_slot_bytes_);
  }
}

}  // namespace sinkstream
