// What a configuration means for a group of some size, before anything is loaded: shards, bytes, sessions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/session_shape.h"
#include "parallel/shard_plan.h"
#include "programs/config.h"
#include "programs/rank_gpus.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/step_plan.h"
#include "worker/model/architectures/model_config.h"
#include "worker/model/kv_cache.h"

namespace sinkstream {

// Sizes that the configuration and the model fix together, the same on every rank.
struct SessionSizing {
  SessionShape shape;
  std::int64_t session_chunk = 0;  // tokens of a session that a step takes in at most
  std::vector<std::string> warnings;
};

struct RankSizing {
  ShardPlan shard;
  std::int64_t weight_bytes = 0;
  std::int64_t session_bytes = 0;
  std::int64_t backend_bytes = 0;  // of the backend's own
  std::int64_t step_bytes = 0;     // of the largest step, at one slot
  std::int64_t step_bytes_per_slot = 0;
  std::int64_t parked_bytes = 0;  // of sessions that are parked in the same memory, where somebody chose
};

// Throws StartupError (ExitCode::config) where the two do not fit together.
SessionSizing size_sessions(const Config& config, const ModelConfig& model);
RankSizing size_rank(const Config& config, const ModelConfig& model, const SessionSizing& sessions,
                     int world_size, int rank);

// Rows of the largest step.
std::int64_t max_step_rows(const Config& config, std::int64_t num_slots);

// Sessions that fit in `available_bytes` beside the weights; may be 0 or less.
std::int64_t sessions_that_fit(const RankSizing& rank, std::int64_t available_bytes);

// Bytes of this host's (or container's) memory that one of `local_ranks` processes may take, or of a GPU's
// that one of the ranks on it may.
std::int64_t available_memory(const Config& config, int local_ranks);
std::int64_t available_memory(const RankGpu& place);
// Of this host's memory, beside GPUs'.
std::int64_t available_host_memory(int local_ranks);

// Slots for this rank: as configured, or as many as fit up to a sane number. Throws StartupError
// (ExitCode::device) with the bytes needed, available and missing, and what to change, when they do not fit.
std::int32_t choose_slots(const Config& config, const ModelConfig& model, const RankSizing& rank,
                          std::int64_t available_bytes);

// What settings mean to the layers below.
std::string device_of(const Config& config);  // what "auto" stands for on this host
bool slots_in_host_memory(const Config& config);
bool may_share_gpus(const Config& config);
kernels::WeightFormat weight_format(const Config& config);
kernels::CacheType cache_type(const Config& config);

// What --plan says.
struct SizingReport {
  std::string text;
  bool fits = false;  // the weights, and the slots that are asked for or one session
};
// `rank_bytes`: what each rank may take; without it, what this host has for `world_size` of them. Throws
// StartupError (ExitCode::device) where it has no such device.
SizingReport report_sizing(const Config& config, const ModelConfig& model, int world_size,
                           std::optional<std::int64_t> rank_bytes = std::nullopt);
// One line: what a rank holds.
std::string describe_shard(const RankSizing& rank);

}  // namespace sinkstream
