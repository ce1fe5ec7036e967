#include "worker/model/kv_cache.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/cache_layout.h"
#include "worker/model/with_advice.h"

namespace sinkstream {
namespace {

using kernels::CacheLayerView;
using kernels::kCacheAlignment;

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

// The whole cache. Throws what a user can act on.
kernels::Buffer allocate(std::int64_t bytes, const KvCacheSizes& sizes, kernels::Backend& backend) {
  const std::string purpose = "the cache of " + std::to_string(sizes.num_slots) + " sessions";
  return with_advice("lower cache.slots or the cache's size",
                     [&] { return backend.allocate(bytes, purpose); });
}

const KvCacheSizes& checked(const KvCacheSizes& sizes) {
  if (sizes.num_slots < 1 || sizes.num_places < 0 || sizes.sink_capacity < 0 || sizes.ring_capacity < 1) {
    throw std::invalid_argument("KvCache: needs slots and a ring");
  }
  return sizes;
}

// Of one slot in one layer, as they follow one another: keys of the sinks, values of the sinks, keys of the
// ring, values of the ring.
struct ArrayBytes {
  std::int64_t sinks = 0;  // of the keys, or of the values
  std::int64_t ring = 0;

  std::int64_t layer() const { return product({2, sum(sinks, ring)}); }
};

ArrayBytes array_bytes(const ModelConfig& config, const ShardPlan& shard, const KvCacheSizes& sizes) {
  const auto aligned = [&](std::int64_t capacity, std::int64_t head_bytes) {
    const std::int64_t bytes = product({capacity, shard.kv_heads.size(), head_bytes});
    return sum(bytes, kCacheAlignment - 1) / kCacheAlignment * kCacheAlignment;
  };
  return {.sinks = aligned(sizes.sink_capacity, config.head_dim * std::int64_t{sizeof(float)}),
          .ring = aligned(sizes.ring_capacity, kernels::ring_head_bytes(sizes.type, config.head_dim))};
}

}  // namespace

KvCacheSizes cache_sizes(const SessionShape& session, std::int32_t num_slots, std::int32_t num_places,
                         kernels::CacheType type) {
  return {.num_slots = num_slots,
          .num_places = num_places,
          .sink_capacity = session.sink_capacity,
          .ring_capacity = session.ring_capacity,
          .type = type};
}

std::int64_t cache_bytes_per_slot(const ModelConfig& config, const ShardPlan& shard,
                                  const KvCacheSizes& sizes) {
  return product({config.num_layers, array_bytes(config, shard, sizes).layer()});
}

KvCache::KvCache(const ModelConfig& config, const ShardPlan& shard, const KvCacheSizes& sizes,
                 kernels::Backend& backend)
    : backend_(backend),
      num_slots_(checked(sizes).num_slots),
      slot_bytes_(cache_bytes_per_slot(config, shard, sizes)),
      memory_(allocate(product({sizes.num_slots, slot_bytes_}), sizes, backend)),
      places_(static_cast<std::size_t>(sizes.num_places)) {
  const ArrayBytes bytes = array_bytes(config, shard, sizes);
  kernels::Address next = memory_.address();
  const auto take = [&](std::int64_t array) { return std::exchange(next, next + array); };
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    layers_.push_back({.sink_keys = take(bytes.sinks),
                       .sink_values = take(bytes.sinks),
                       .ring_keys = take(bytes.ring),
                       .ring_values = take(bytes.ring),
                       .ring_type = sizes.type,
                       .num_slots = sizes.num_slots,
                       .slot_stride_bytes = slot_bytes_,
                       .local_kv_heads = static_cast<int>(shard.kv_heads.size()),
                       .sink_capacity = sizes.sink_capacity,
                       .ring_capacity = sizes.ring_capacity,
                       .head_dim = static_cast<int>(config.head_dim)});
  }
}

void KvCache::copy(std::int32_t from, std::int32_t to, std::int64_t seen_tokens) {
  copy(begin_of(from), begin_of(to), seen_tokens);
}

void KvCache::save(std::int32_t slot, std::int32_t place, std::int64_t seen_tokens) {
  const kernels::Address from = begin_of(slot);
  copy(from, begin_of_taken(place), seen_tokens);
}

void KvCache::restore(std::int32_t place, std::int32_t slot, std::int64_t seen_tokens) {
  copy(this->place(place).address(), begin_of(slot), seen_tokens);
}

void KvCache::copy_saved(std::int32_t from, std::int32_t to, std::int64_t seen_tokens) {
  const kernels::Address saved = place(from).address();
  copy(saved, begin_of_taken(to), seen_tokens);
}

void KvCache::copy(kernels::Address from, kernels::Address to, std::int64_t seen_tokens) {
  if (from == kernels::Address::none) throw std::invalid_argument("KvCache: nothing was saved there");
  if (from == to) throw std::invalid_argument("KvCache: nothing can be copied to itself");
  if (seen_tokens < 0) throw std::invalid_argument("KvCache: a negative number of tokens");
  if (seen_tokens >= layers_.front().ring_capacity) {
    backend_.copy(from, to, {.bytes = slot_bytes_});
  } else {
    copy_first_places(from, to, seen_tokens);
  }
}

void KvCache::copy_first_places(kernels::Address from, kernels::Address to, std::int64_t seen_tokens) {
  const CacheLayerView& first = layers_.front();  // the others follow at one distance
  const std::int64_t layers = std::ssize(layers_);
  const auto of_layers = [&](std::int64_t bytes) {
    return kernels::Pieces{.bytes = bytes, .count = layers, .stride = slot_bytes_ / layers};
  };
  const kernels::Pieces sinks = of_layers(sink_bytes(first, std::min(seen_tokens, first.sink_capacity)));
  const kernels::Pieces ring = of_layers(ring_bytes(first, seen_tokens));
  const auto copy_pieces = [&](kernels::Address in_first_slot, const kernels::Pieces& pieces) {
    const std::int64_t offset =
        static_cast<std::int64_t>(in_first_slot) - static_cast<std::int64_t>(memory_.address());
    backend_.copy(from + offset, to + offset, pieces);
  };
  for (std::int64_t head = 0; head < first.local_kv_heads; ++head) {
    const kernels::CachePlane plane = cache_plane(first, 0, head);
    copy_pieces(plane.sink_keys, sinks);
    copy_pieces(plane.sink_values, sinks);
    copy_pieces(plane.ring_keys, ring);
    copy_pieces(plane.ring_values, ring);
  }
}

std::vector<std::span<std::byte>> KvCache::parts_of_place(std::int32_t place, std::int64_t seen_tokens,
                                                          std::int64_t sink_tokens) {
  const kernels::Address begin = begin_of_taken(place);
  const CacheLayerView& first = layers_.front();
  const std::int64_t sinks = sink_bytes(first, std::min({seen_tokens, sink_tokens, first.sink_capacity}));
  const std::int64_t ring = ring_bytes(first, std::min(seen_tokens, first.ring_capacity));
  std::vector<std::span<std::byte>> parts;
  const auto add = [&](kernels::Address in_first_slot, std::int64_t bytes) {
    const std::int64_t offset =
        static_cast<std::int64_t>(in_first_slot) - static_cast<std::int64_t>(memory_.address());
    if (bytes == 0) return;
    parts.emplace_back(reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(begin + offset)),
                       static_cast<std::size_t>(bytes));
  };
  for (const CacheLayerView& layer : layers_) {
    for (std::int64_t head = 0; head < layer.local_kv_heads; ++head) {
      const kernels::CachePlane plane = cache_plane(layer, 0, head);
      add(plane.sink_keys, sinks);
      add(plane.sink_values, sinks);
      add(plane.ring_keys, ring);
      add(plane.ring_values, ring);
    }
  }
  return parts;
}

void KvCache::release(std::int32_t slot) {
  backend_.discard(begin_of(slot), slot_bytes_);
}

kernels::Address KvCache::begin_of(std::int32_t slot) const {
  if (slot < 0 || slot >= num_slots_) throw std::invalid_argument("KvCache: no such slot");
  return memory_.address() + slot * slot_bytes_;
}

kernels::Buffer& KvCache::place(std::int32_t number) {
  if (number < 0 || number >= std::ssize(places_))
    throw std::invalid_argument("KvCache: no such parking place");
  return places_[static_cast<std::size_t>(number)];
}

kernels::Address KvCache::begin_of_taken(std::int32_t place) {
  kernels::Buffer& memory = this->place(place);
  if (memory.address() == kernels::Address::none) {
    memory = with_advice("lower sessions.parked_bytes",
                         [&] { return backend_.allocate_in_host(slot_bytes_, "a parked session"); });
  }
  return memory.address();
}

}  // namespace sinkstream
