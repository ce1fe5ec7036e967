// This rank's slice of every session's cache: for each layer and slot, float32 sinks and a ring.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/types.h"
#include "parallel/shard_plan.h"
#include "worker/model/model_config.h"

namespace sinkstream {

struct KvCacheSizes {
  int num_slots = 1;
  std::int64_t sink_capacity = 0;  // max_sink_tokens in sink mode, else 0
  std::int64_t ring_capacity = 1;  // window_tokens + slack_tokens, or max_context in dense mode
  kernels::DType type = kernels::DType::f32;
};

// Bytes that one slot (one resident session) costs this rank, all layers.
std::int64_t cache_bytes_per_slot(const ModelConfig& config, const ShardPlan& shard,
                                  const KvCacheSizes& sizes);

// Memory is mapped, not touched, when constructed: a slot costs physical memory only as its session fills it.
class KvCache {
 public:
  // Throws StartupError (ExitCode::device) with the bytes needed when the memory is not to be had.
  KvCache(const ModelConfig& config, const ShardPlan& shard, const KvCacheSizes& sizes);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  const KvCacheSizes& sizes() const;
  const kernels::CacheLayerView& layer(std::int64_t index) const;
  // Gives a slot's physical memory back to the system; its content becomes zero.
  void release(int slot);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sinkstream
