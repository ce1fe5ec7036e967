#include "programs/sizing.h"

#include <algorithm>
#include <limits>
#include <sstream>

#include "base/error.h"
#include "base/show_bytes.h"
#include "kernels/make_backend.h"
#include "programs/parking_room.h"
#include "programs/what_would_fit.h"
#include "worker/engine/step_runner.h"
#include "worker/model/checkpoint/fetched_model.h"
#include "worker/model/tensors.h"

namespace sinkstream {
namespace {

constexpr std::int64_t kMaxAutoSlots = 64;
// Of the memory that is free, the share that "auto" may plan with; the rest is for files, sockets and other
// programs. A GPU is for us alone.
constexpr double kUsableShare = 0.8;
constexpr double kUsableShareOfGpu = 0.97;

std::int64_t share_of(std::int64_t bytes, double share, int ranks) {
  return static_cast<std::int64_t>(share * static_cast<double>(bytes)) / std::max(1, ranks);
}

std::string show(const Range& range) {
  return std::to_string(range.begin) + ".." + std::to_string(range.end - 1);
}

const char* name_of(CacheMode mode) {
  return mode == CacheMode::sink ? "sink" : mode == CacheMode::window ? "window" : "dense";
}

}  // namespace

std::string device_of(const Config& config) {
  const std::string device =
      config.parallel.device == "auto" ? kernels::best_device().name : config.parallel.device;
  if (device != "cuda" && config.parallel.communicator == "nccl") {
    throw StartupError(ExitCode::config,
                       "parallel.communicator: nccl goes between GPUs, and parallel.device is " + device);
  }
  if (device == "cuda" && config.cache.type == "int8") {
    throw StartupError(
        ExitCode::config,
        "cache.type: int8 is for CPUs, and parallel.device is cuda (auto takes it where there is a GPU); "
        "take bf16, or parallel.device cpu");
  }
  return device;
}

bool slots_in_host_memory(const Config& config) {
  return device_of(config) != "cuda";
}

bool may_share_gpus(const Config& config) {
  return config.parallel.communicator == "mpi" || config.parallel.communicator == "shm";
}

kernels::WeightFormat weight_format(const Config& config) {
  return kernels::parse_weight_format(config.model.weights).value();  // a setting takes no other
}

kernels::CacheType cache_type(const Config& config) {
  return kernels::parse_cache_type(config.cache.type).value();  // a setting takes no other
}

namespace {

// Dense: everything up to max_context is kept, in a ring that never comes round. A model that was trained to
// see a sliding window only still sees no more.
void size_dense(const Config& config, const ModelConfig& model, SessionSizing& sizing) {
  sizing.shape.max_context = config.cache.max_context.value_or(model.trained_context);
  sizing.shape.window = {0, sizing.shape.max_context};
  if (model.sliding_window > 0) {
    sizing.shape.window.window_tokens = std::min(sizing.shape.window.window_tokens, model.sliding_window);
  }
  sizing.shape.ring_capacity = sizing.shape.max_context;
  sizing.session_chunk = config.engine.prefill_chunk;
}

void size_endless(const Config& config, const ModelConfig& model, SessionSizing& sizing) {
  const CacheSettings& cache = config.cache;
  const bool has_sinks = cache.mode == CacheMode::sink;
  sizing.shape.window = {has_sinks ? cache.sink_tokens : 0, cache.window_tokens};
  if (model.sliding_window > 0 && cache.window_tokens > model.sliding_window) {
    sizing.shape.window.window_tokens = model.sliding_window;
    sizing.warnings.push_back("cache.window_tokens " + std::to_string(cache.window_tokens) +
                              " is lowered to the model's own sliding_window, " +
                              std::to_string(model.sliding_window));
  }
  sizing.shape.sink_capacity = has_sinks ? cache.max_sink_tokens : 0;
  sizing.shape.ring_capacity = ring_capacity(sizing.shape.window.window_tokens, cache.slack_tokens);
  sizing.session_chunk = std::min(config.engine.prefill_chunk, cache.slack_tokens);
}

}  // namespace

SessionSizing size_sessions(const Config& config, const ModelConfig& model) {
  const CacheSettings& cache = config.cache;
  SessionSizing sizing;
  if (cache.mode == CacheMode::dense) {
    size_dense(config, model, sizing);
  } else {
    size_endless(config, model, sizing);
  }
  if (cache.mode != CacheMode::dense && cache.max_context) {
    sizing.warnings.push_back("cache.max_context is without effect: only dense mode ends there");
  }
  sizing.shape.num_layers = model.num_layers;
  const std::int64_t reach = sizing.shape.remembered_tokens();
  if (reach > model.trained_context) {
    sizing.warnings.push_back("the cache holds " + std::to_string(reach) +
                              " tokens, but the model was trained on " +
                              std::to_string(model.trained_context) +
                              "; expect worse text, or lower cache.window_tokens (dense: cache.max_context)");
  }
  if (cache.mode == CacheMode::sink && cache.sink_tokens == 0) {
    sizing.warnings.push_back(
        "cache.mode is sink with cache.sink_tokens 0: that is window attention, which collapses "
        "as soon as the first tokens leave");
  }
  return sizing;
}

RankSizing size_rank(const Config& config, const ModelConfig& model, const SessionSizing& sessions,
                     int world_size, int rank) {
  RankSizing sizing;
  try {
    sizing.shard = make_shard_plan(model.shard_sizes(), world_size, rank);
  } catch (const std::invalid_argument& error) {
    throw StartupError(ExitCode::config, "this model cannot be sharded over " + std::to_string(world_size) +
                                             " ranks: " + error.what());
  }
  sizing.weight_bytes = weight_bytes(model, sizing.shard, weight_format(config),
                                     [device = device_of(config)](const kernels::WeightShape& shape) {
                                       return kernels::packed_bytes(device, shape);
                                     });
  sizing.session_bytes =
      cache_bytes_per_slot(model, sizing.shard, cache_sizes(sessions.shape, 1, 0, cache_type(config)));
  if (slots_in_host_memory(config)) sizing.parked_bytes = config.parking.bytes.value_or(0);
  sizing.backend_bytes = kernels::own_bytes(device_of(config));
  const auto step_bytes = [&](std::int64_t rows) {
    return Model::step_bytes(model, sizing.shard, rows) + StepRunner::bytes(rows);
  };
  sizing.step_bytes = step_bytes(max_step_rows(config, 1));
  sizing.step_bytes_per_slot = step_bytes(2) - step_bytes(1);
  return sizing;
}

std::int64_t max_step_rows(const Config& config, std::int64_t num_slots) {
  return num_slots + config.engine.prefill_chunk;
}

std::int64_t sessions_that_fit(const RankSizing& rank, std::int64_t available_bytes) {
  const std::int64_t left =
      available_bytes - rank.weight_bytes - rank.step_bytes - rank.backend_bytes - rank.parked_bytes;
  return left < 0 ? 0 : left / (rank.session_bytes + rank.step_bytes_per_slot);
}

std::int64_t available_memory(const Config& config, int local_ranks) {
  if (slots_in_host_memory(config)) return available_host_memory(local_ranks);
  const std::vector<VisibleGpus> ranks(static_cast<std::size_t>(local_ranks), see_gpus());
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (const RankGpu& place : place_ranks(ranks, may_share_gpus(config))) {
    least = std::min(least, available_memory(place));
  }
  return least;
}

std::int64_t available_memory(const RankGpu& place) {
  return share_of(kernels::free_device_bytes("cuda", place.gpu.number), kUsableShareOfGpu, place.ranks);
}

std::int64_t available_host_memory(int local_ranks) {
  return share_of(kernels::free_device_bytes("cpu"), kUsableShare, local_ranks);
}

std::int32_t choose_slots(const Config& config, const ModelConfig& model, const RankSizing& rank,
                          std::int64_t available_bytes) {
  const std::int64_t fit = sessions_that_fit(rank, available_bytes);
  const std::int64_t wanted = config.cache.slots.value_or(std::clamp<std::int64_t>(fit, 1, kMaxAutoSlots));
  if (wanted > fit) {
    const std::int64_t steps = rank.step_bytes + wanted * rank.step_bytes_per_slot;
    const std::int64_t needed =
        rank.weight_bytes + steps + rank.backend_bytes + wanted * rank.session_bytes + rank.parked_bytes;
    const std::string parked =
        rank.parked_bytes > 0 ? " + sessions.parked_bytes " + show_bytes(rank.parked_bytes) : "";
    throw StartupError(
        ExitCode::device,
        "not enough memory on rank " + std::to_string(rank.shard.rank) + ": weights " +
            show_bytes(rank.weight_bytes) + " + room for steps " + show_bytes(steps + rank.backend_bytes) +
            " + " + std::to_string(wanted) + " session(s) of " + show_bytes(rank.session_bytes) + parked +
            ", but " + show_bytes(available_bytes) + " may be used: " + show_bytes(needed - available_bytes) +
            " are missing; " + what_would_fit(config, model, rank.shard.world_size, available_bytes));
  }
  return static_cast<std::int32_t>(wanted);
}

std::string describe_shard(const RankSizing& rank) {
  const ShardPlan& shard = rank.shard;
  return "rank " + std::to_string(shard.rank) + ": heads " + show(shard.heads) + ", KV heads " +
         show(shard.kv_heads) + ", MLP columns " + show(shard.mlp) + ", vocabulary " + show(shard.vocab) +
         "; weights " + show_bytes(rank.weight_bytes) + ", a session " + show_bytes(rank.session_bytes) +
         ", steps " + show_bytes(rank.step_bytes + rank.backend_bytes);
}

namespace {

std::int64_t memory_to_plan_with(const Config& config, int world_size) {
  try {
    return available_memory(config, world_size);
  } catch (const StartupError& error) {
    throw StartupError(error.code(), std::string(error.what()) + " (--memory plans for other hosts)");
  }
}

// Of another host with GPUs nobody knows the memory beside them.
std::string plan_places(const Config& config, const RankSizing& largest, std::int32_t slots,
                        std::int64_t available, int world_size, bool is_other_host) {
  const bool is_unknown = is_other_host && !slots_in_host_memory(config);
  if (is_unknown && !config.parking.bytes) return "";
  const std::int64_t left = is_unknown ? std::numeric_limits<std::int64_t>::max()
                                       : host_bytes_left(config, largest, slots, available, world_size);
  return describe_places(use_of_places(config, choose_places(config, largest, left)), largest.session_bytes) +
         "\n";
}

}  // namespace

SizingReport report_sizing(const Config& config, const ModelConfig& model, int world_size,
                           std::optional<std::int64_t> rank_bytes) {
  const SessionSizing sessions = size_sessions(config, model);
  const std::int64_t available = rank_bytes ? *rank_bytes : memory_to_plan_with(config, world_size);
  std::ostringstream out;
  out << config.model.name << ": " << model.architecture << ", " << model.num_layers << " layers, hidden "
      << model.hidden_size << ", " << model.num_heads << " heads, " << model.num_kv_heads << " KV heads of "
      << model.head_dim << ", vocabulary " << model.vocab_size << ", trained context "
      << model.trained_context << "\n"
      << "cache: " << name_of(config.cache.mode) << ", " << sessions.shape.window.sink_tokens << " sinks + "
      << sessions.shape.window.window_tokens << " window tokens, " << config.cache.type << "\n"
      << "device: " << device_of(config) << "\n";
  for (const auto& warning : sessions.warnings) out << "warning: " << warning << "\n";

  std::int64_t all_weights = 0, all_sessions = 0, fit = kMaxAutoSlots * 1'000'000;
  RankSizing largest;
  for (int rank = 0; rank < world_size; ++rank) {
    const RankSizing sizing = size_rank(config, model, sessions, world_size, rank);
    out << describe_shard(sizing) << "\n";
    all_weights += sizing.weight_bytes;
    all_sessions += sizing.session_bytes;
    fit = std::min(fit, sessions_that_fit(sizing, available));
    if (sizing.session_bytes > largest.session_bytes) largest = sizing;
  }
  out << "all ranks: weights " << show_bytes(all_weights) << ", a session " << show_bytes(all_sessions)
      << "\n"
      << (rank_bytes ? "given " : "on this host, ") << show_bytes(available) << " for each of " << world_size
      << " rank(s): ";
  if (fit <= 0) {
    out << "the model does not fit; " << what_would_fit(config, model, world_size, available)
        << (rank_bytes ? "\n" : " (--memory plans for other hosts)\n");
  } else if (config.cache.slots) {
    out << fit << " session(s) fit; cache.slots asks for " << *config.cache.slots
        << (*config.cache.slots > fit ? ", which is too many\n" : "\n");
  } else {
    out << fit << " session(s) fit; cache.slots auto takes " << std::min(fit, kMaxAutoSlots) << "\n";
  }
  const std::int64_t slots = config.cache.slots.value_or(std::clamp<std::int64_t>(fit, 1, kMaxAutoSlots));
  if (fit >= slots) {
    out << plan_places(config, largest, static_cast<std::int32_t>(slots), available, world_size,
                       rank_bytes.has_value());
  }
  if (is_recipe(config.model.path)) {
    out << "the weights have not been fetched yet; " << how_to_fetch(config.model.path) << "\n";
  }
  return {out.str(), fit >= config.cache.slots.value_or(1)};
}

}  // namespace sinkstream
