// This rank's slice of every session's cache. A slot is one region of memory: for each layer, float32 sinks
// and a ring.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/session_shape.h"
#include "kernels/backend.h"
#include "parallel/shard_plan.h"
#include "worker/model/architectures/model_config.h"

namespace sinkstream {

struct KvCacheSizes {
  int num_slots = 1;
  int num_places = 0;              // for sessions that are parked
  std::int64_t sink_capacity = 0;  // of SessionShape, as the next
  std::int64_t ring_capacity = 1;
  kernels::CacheType type = kernels::CacheType::f32;  // of the ring
};

KvCacheSizes cache_sizes(const SessionShape& session, std::int32_t num_slots, std::int32_t num_places,
                         kernels::CacheType type);

// Bytes that one slot (one resident session) costs this rank: all layers, every array aligned.
std::int64_t cache_bytes_per_slot(const ModelConfig& config, const ShardPlan& shard,
                                  const KvCacheSizes& sizes);

// A slot costs physical memory only as its session fills it, where the backend can do that. Beside slots
// there are parking places: memory of the host, each as large as a slot and laid out like one, that is taken
// when something is first saved there, and then kept for the next.
class KvCache {
 public:
  // Throws StartupError (ExitCode::device) with the bytes needed when the memory is not to be had.
  KvCache(const ModelConfig& config, const ShardPlan& shard, const KvCacheSizes& sizes,
          kernels::Backend& backend);
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  const kernels::CacheLayerView& layer(std::int64_t index) const {
    return layers_[static_cast<std::size_t>(index)];
  }
  // Copies what a session that has seen so many tokens may still attend to: while they have not filled the
  // ring only the places that they were written to, so that neither slot takes more physical memory than they
  // need. What else `to` holds stays there.
  void copy(std::int32_t from, std::int32_t to, std::int64_t seen_tokens);
  // The same from a slot to a parking place, from there to a slot, and between parking places. The first
  // throws StartupError when there is no memory for the place.
  void save(std::int32_t slot, std::int32_t place, std::int64_t seen_tokens);
  void restore(std::int32_t place, std::int32_t slot, std::int64_t seen_tokens);
  void copy_saved(std::int32_t from, std::int32_t to, std::int64_t seen_tokens);
  // What a session that has seen so many tokens, with so many sinks, has in a parking place: memory of this
  // host, to be read or filled by whoever has waited for what was queued. A place that nothing was saved in
  // gets its memory; save() says what that throws.
  std::vector<std::span<std::byte>> parts_of_place(std::int32_t place, std::int64_t seen_tokens,
                                                   std::int64_t sink_tokens);
  // Gives a slot's physical memory back; its content becomes zero.
  void release(std::int32_t slot);

 private:
  void copy(kernels::Address from, kernels::Address to, std::int64_t seen_tokens);
  // The places of positions [0, seen_tokens), in all layers.
  void copy_first_places(kernels::Address from, kernels::Address to, std::int64_t seen_tokens);
  // Each throws std::invalid_argument when there is none of this number.
  kernels::Address begin_of(std::int32_t slot) const;
  kernels::Buffer& place(std::int32_t number);
  // Where something is to be saved: it has its memory then.
  kernels::Address begin_of_taken(std::int32_t place);

  kernels::Backend& backend_;
  std::int32_t num_slots_;
  std::int64_t slot_bytes_;
  kernels::Buffer memory_;
  std::vector<kernels::Buffer> places_;
  std::vector<kernels::CacheLayerView> layers_;
};

}  // namespace sinkstream
