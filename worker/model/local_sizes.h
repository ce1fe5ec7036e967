// One rank's feature counts, the local_* sizes of tensors.h.
#pragma once

#include <cstdint>

#include "parallel/shard_plan.h"
#include "worker/model/architectures/model_config.h"

namespace sinkstream {

struct LocalSizes {
  std::int64_t q, kv, qkv, mlp, up, vocab;

  LocalSizes(const ModelConfig& config, const ShardPlan& shard)
      : q(shard.heads.size() * config.head_dim),
        kv(shard.kv_heads.size() * config.head_dim),
        qkv(q + 2 * kv),
        mlp(shard.mlp.size()),
        up(config.gated_mlp() ? 2 * mlp : mlp),
        vocab(shard.vocab.size()) {}
};

}  // namespace sinkstream
