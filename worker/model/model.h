// One rank's share of a model: weights, cache and the forward pass.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "kernels/backend.h"
#include "parallel/shard_plan.h"
#include "worker/model/architectures/model_config.h"
#include "worker/model/kv_cache.h"
#include "worker/model/qk_norm.h"
#include "worker/model/step_arrays.h"
#include "worker/model/tensors.h"

namespace sinkstream {

// Everything is queued on the backend; nothing is computed before its wait returns, and nothing is read on
// the host.
class Model {
 public:
  Model(const ModelConfig& config, const ShardPlan& shard, Weights weights, const KvCacheSizes& cache_sizes,
        std::int64_t max_rows, kernels::Backend& backend);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // What it takes of the backend's memory for steps, beside weights and cache.
  static std::int64_t step_bytes(const ModelConfig& config, const ShardPlan& shard, std::int64_t max_rows);

  const ModelConfig& config() const { return config_; }
  const ShardPlan& shard() const { return shard_; }
  kernels::Backend& backend() { return backend_; }

  // A new turn in a slot: nothing chosen yet. What its session has taken in stays. To roll it back, its next
  // rows begin at an earlier position, one that can_roll_back() in base/cache_geometry.h allows.
  void begin_turn(std::int32_t slot, const SamplingParams& sampling);
  // Slot `to`, whatever it held, holds the session of `from` too, which stands at `seen_tokens`. A turn in it
  // is yet to begin: no token was chosen there. It can be rolled back as far as `from` can.
  void copy_slot(std::int32_t from, std::int32_t to, std::int64_t seen_tokens);
  // A parking place, whatever it held, holds the session of a slot too, or that of another place; and a slot
  // that of a place, as copy_slot() has it.
  void save_slot(std::int32_t slot, std::int32_t place, std::int64_t seen_tokens);
  void copy_saved(std::int32_t from, std::int32_t to, std::int64_t seen_tokens);
  void restore_slot(std::int32_t place, std::int32_t slot, std::int64_t seen_tokens);
  // As KvCache has it.
  std::vector<std::span<std::byte>> parts_of_place(std::int32_t place, std::int64_t seen_tokens,
                                                   std::int64_t sink_tokens) {
    return cache_.parts_of_place(place, seen_tokens, sink_tokens);
  }
  // A slot's session ends: its memory goes back.
  void close_slot(std::int32_t slot);
  // A slot's session goes on elsewhere; the slot's memory stays, for the next.
  void leave_slot(std::int32_t slot);

  // Collective: every rank passes the same rows (1 <= rows <= max_rows). Throws std::invalid_argument, before
  // anything is queued, for rows that break ModelRow's rules.
  void forward(std::span<const ModelRow> rows);

  // This rank's logits of some rows of the last forward (LM head of the final norm), at most kOutputsAtOnce
  // of them: [selected.size(), local_vocab], until the next call. Not collective.
  kernels::ConstMatrix logits(std::span<const std::int32_t> selected);

  // Collective: chooses a token from each row of those logits, or scores one.   tasks, out [logits.rows]
  void choose(kernels::ConstMatrix logits, std::span<const kernels::ChoiceTask> tasks,
              kernels::DeviceSpan<kernels::Choice> out);

 private:
  void decoder_layer(std::int64_t index);
  // What this rank's heads, or its part of the MLP, make of `normed`.
  void attention(std::int64_t index, kernels::ConstMatrix normed, kernels::Matrix partial);
  void mlp(const LayerWeights& layer, kernels::ConstMatrix normed, kernels::Matrix partial);
  const kernels::Norm& norm_after(std::int64_t index) const;

  ModelConfig config_;
  ShardPlan shard_;
  kernels::HeadShard heads_;
  kernels::Backend& backend_;
  Weights weights_;
  KvCache cache_;
  std::unique_ptr<kernels::SlotStates> slot_states_;
  StepRows checked_;
  StepArrays step_;
  Activations activations_;
  kernels::DeviceArray<float> inverse_frequencies_;  // [rotary_dim / 2]
  kernels::DeviceArray<float> alibi_slopes_;         // [local_heads] or empty
  kernels::DeviceArray<std::int32_t> selected_;      // [kOutputsAtOnce]
  kernels::DeviceArray<kernels::ChoiceTask> tasks_;  // [kOutputsAtOnce]
  std::optional<SpreadNorm> query_norm_, key_norm_;  // with qk_norm
};

}  // namespace sinkstream
