#include "worker/model/kv_cache.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace sinkstream {
namespace {

using kernels::CacheLayerView;

constexpr std::size_t kAlignment = 64;       // a cache line
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

// Zeroes [begin, end) and gives its whole pages back to the system.
void discard(std::byte* begin, std::byte* end) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(begin);
  std::byte* const first_page = std::min(begin + (page - first % page) % page, end);
  std::byte* const last_page = std::max(first_page, end - reinterpret_cast<std::uintptr_t>(end) % page);
  std::fill(begin, first_page, std::byte{0});
  std::fill(last_page, end, std::byte{0});
  if (first_page < last_page)
    madvise(first_page, static_cast<std::size_t>(last_page - first_page), MADV_DONTNEED);
}

}  // namespace

std::int64_t cache_bytes_per_slot(const ModelConfig& config, const ShardPlan& shard,
                                  const KvCacheSizes& sizes) {
  const std::int64_t sink_bytes = product({sizes.sink_capacity, static_cast<std::int64_t>(sizeof(float))});
  const std::int64_t ring_bytes =
      product({sizes.ring_capacity, static_cast<std::int64_t>(size_of(sizes.type))});
  const std::int64_t keys_and_values = 2;
  return product({config.num_layers, shard.kv_heads.size(), keys_and_values, config.head_dim,
                  sum(sink_bytes, ring_bytes)});
}

struct KvCache::State {
  KvCacheSizes sizes;
  std::vector<CacheLayerView> layers;
  std::size_t sink_slot_bytes = 0;  // of the keys, or of the values, of one slot in one layer
  std::size_t ring_slot_bytes = 0;
  std::byte* memory = nullptr;
  std::size_t memory_bytes = 0;

  ~State() {
    if (memory != nullptr) munmap(memory, memory_bytes);
  }
  void map_memory(std::int64_t bytes);
  void lay_out(const ModelConfig& config, const ShardPlan& shard);
};

void KvCache::State::map_memory(std::int64_t bytes) {
  const auto refuse = [&](const std::string& reason) {
    throw StartupError(ExitCode::device, "the cache of " + std::to_string(sizes.num_slots) +
                                             " sessions needs " + std::to_string(bytes) +
                                             " bytes on this rank: " + reason +
                                             "; lower cache.slots or the cache's size");
  };
  if (bytes == std::numeric_limits<std::int64_t>::max()) refuse("more than can be addressed");
  memory_bytes = static_cast<std::size_t>(bytes);
  void* const address =
      mmap(nullptr, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) refuse(std::generic_category().message(errno));
  memory = static_cast<std::byte*>(address);
}

void KvCache::State::lay_out(const ModelConfig& config, const ShardPlan& shard) {
  const auto slots = static_cast<std::size_t>(sizes.num_slots);
  const auto row_elements = static_cast<std::size_t>(shard.kv_heads.size() * config.head_dim);
  sink_slot_bytes = static_cast<std::size_t>(sizes.sink_capacity) * row_elements * sizeof(float);
  ring_slot_bytes = static_cast<std::size_t>(sizes.ring_capacity) * row_elements * size_of(sizes.type);

  std::byte* next = memory;
  const auto take = [&next](std::size_t bytes) {
    return std::exchange(next, next + (bytes + kAlignment - 1) / kAlignment * kAlignment);
  };
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    layers.push_back({.sink_keys = reinterpret_cast<float*>(take(slots * sink_slot_bytes)),
                      .sink_values = reinterpret_cast<float*>(take(slots * sink_slot_bytes)),
                      .ring_keys = take(slots * ring_slot_bytes),
                      .ring_values = take(slots * ring_slot_bytes),
                      .ring_dtype = sizes.type,
                      .num_slots = sizes.num_slots,
                      .local_kv_heads = static_cast<int>(shard.kv_heads.size()),
                      .sink_capacity = sizes.sink_capacity,
                      .ring_capacity = sizes.ring_capacity,
                      .head_dim = static_cast<int>(config.head_dim)});
  }
}

KvCache::KvCache(const ModelConfig& config, const ShardPlan& shard, const KvCacheSizes& sizes)
    : state_(std::make_unique<State>()) {
  if (sizes.num_slots < 1 || sizes.sink_capacity < 0 || sizes.ring_capacity < 1 ||
      sizes.type == kernels::DType::f16) {
    throw std::invalid_argument("KvCache: needs slots, a ring, and type f32 or bf16");
  }
  state_->sizes = sizes;
  const std::int64_t padding = config.num_layers * kArraysPerLayer * static_cast<std::int64_t>(kAlignment);
  state_->map_memory(sum(product({sizes.num_slots, cache_bytes_per_slot(config, shard, sizes)}), padding));
  state_->lay_out(config, shard);
}

KvCache::~KvCache() = default;

const KvCacheSizes& KvCache::sizes() const {
  return state_->sizes;
}

const CacheLayerView& KvCache::layer(std::int64_t index) const {
  return state_->layers[static_cast<std::size_t>(index)];
}

void KvCache::release(int slot) {
  if (slot < 0 || slot >= state_->sizes.num_slots) throw std::invalid_argument("KvCache: no such slot");
  const auto discard_slot = [slot](void* array, std::size_t slot_bytes) {
    std::byte* const begin = static_cast<std::byte*>(array) + static_cast<std::size_t>(slot) * slot_bytes;
    discard(begin, begin + slot_bytes);
  };
  for (const CacheLayerView& layer : state_->layers) {
    discard_slot(layer.sink_keys, state_->sink_slot_bytes);
    discard_slot(layer.sink_values, state_->sink_slot_bytes);
    discard_slot(layer.ring_keys, state_->ring_slot_bytes);
    discard_slot(layer.ring_values, state_->ring_slot_bytes);
  }
}

}  // namespace sinkstream
