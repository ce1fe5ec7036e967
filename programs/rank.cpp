#include "programs/rank.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <optional>
#include <sstream>

#include "base/durations.h"
#include "kernels/make_backend.h"
#include "parallel/host/cpu_quota.h"
#include "parallel/start/affinity.h"
#include "parallel/start/together.h"
#include "programs/parking_room.h"
#include "worker/model/checkpoint/checkpoint.h"
#include "worker/model/checkpoint/fingerprint.h"

namespace sinkstream {
namespace {

// Collective. Where nobody chose, the log says what was taken and why.
std::string find_device(Communicator& group, const Config& config) {
  const std::string device = make_together(group, [&] { return device_of(config); });
  if (group.is_leader() && config.parallel.device == "auto") {
    const std::string why = kernels::best_device().why_no_gpu;
    spdlog::info("device: {}{}", device, why.empty() ? "" : ", since " + why);
  }
  return device;
}

// Collective: what is free on a GPU is asked when all ranks have their contexts there.
std::int64_t find_memory(Communicator& group, const Config& config, const std::optional<RankGpu>& gpu,
                         int local_ranks) {
  const auto ask = [&] { return gpu ? available_memory(*gpu) : available_memory(config, local_ranks); };
  make_together(group, ask);
  return make_together(group, ask);
}

std::int32_t agree_on_slots(Communicator& group, const Config& config, const ModelConfig& model,
                            const RankSizing& sizing, std::int64_t available_bytes) {
  const auto slots =
      make_together(group, [&] { return choose_slots(config, model, sizing, available_bytes); });
  const auto all = all_gather_value(group, slots);
  return *std::min_element(all.begin(), all.end());
}

// As many as the rank with least room has.
std::int32_t agree_on_places(Communicator& group, const Config& config, const RankSizing& sizing,
                             std::int32_t slots, std::int64_t available_bytes, int local_ranks) {
  const auto places = make_together(group, [&] {
    return choose_places(config, sizing,
                         host_bytes_left(config, sizing, slots, available_bytes, local_ranks));
  });
  const auto all = all_gather_value(group, places);
  return *std::min_element(all.begin(), all.end());
}

// What decides where a slot's keys and values stand, and what they are.
std::unique_ptr<SnapshotFiles> make_snapshot_files(const Config& config, const ModelConfig& model,
                                                   const ShardPlan& shard, const KvCacheSizes& cache,
                                                   const Rank& rank) {
  const auto all = config.sessions.directory / "snapshots";
  const auto directory = all / fmt::format("rank-{}-of-{}", shard.rank, shard.world_size);
  std::error_code ignored;  // those of groups of another size are of no use any more
  for (const auto& entry : std::filesystem::directory_iterator(all, ignored)) {
    const std::string name = entry.path().filename().string();
    const bool is_of_this_size = name.ends_with(fmt::format("-of-{}", shard.world_size));
    if (name.starts_with("rank-") && !is_of_this_size) std::filesystem::remove_all(entry.path(), ignored);
  }
  return std::make_unique<SnapshotFiles>(SnapshotSettings{
      .directory = directory,
      .layout =
          fmt::format("{} weights {}; {} layers of KV heads {} to {}, {} each; ring {} {}",
                      rank.model_fingerprint, config.model.weights, model.num_layers, shard.kv_heads.begin,
                      shard.kv_heads.end, model.head_dim, cache.ring_capacity, config.cache.type),
      .most_bytes = config.sessions.snapshot_bytes});
}

// Collective. They only save time: where one rank can't have them, none has, and the log says why.
std::unique_ptr<SnapshotFiles> agree_on_snapshots(Communicator& group, const Config& config,
                                                  const ModelConfig& model, const ShardPlan& shard,
                                                  const KvCacheSizes& cache, const Rank& rank) {
  std::unique_ptr<SnapshotFiles> files;
  std::string problem;
  if (config.sessions.directory.empty()) {
    problem = "sessions.directory is not set";
  } else if (config.sessions.snapshot_bytes == 0) {
    problem = "sessions.snapshot_bytes is 0";
  } else if (!use_of_places(config, cache.num_places).has_snapshots) {
    problem = "there is no room for them (sessions.parked_bytes)";
  } else {
    try {
      files = make_snapshot_files(config, model, shard, cache, rank);
    } catch (const std::exception& error) {
      problem = error.what();
    }
  }
  const auto problems = all_gather_strings(group, problem);
  const auto first = std::ranges::find_if(problems, [](const std::string& one) { return !one.empty(); });
  if (first == problems.end()) return files;
  if (group.is_leader() && !config.sessions.directory.empty()) {
    spdlog::warn("no snapshots of sessions are kept, so they are made anew from their tokens: rank {}: {}",
                 first - problems.begin(), *first);
  }
  return nullptr;
}

PlanLimits plan_limits(const ModelConfig& model, const SessionSizing& sessions, const KvCacheSizes& cache,
                       std::int64_t max_rows) {
  PlanLimits limits;
  limits.num_slots = cache.num_slots;
  limits.num_places = cache.num_places;
  limits.max_rows = max_rows;
  limits.vocab_size = model.vocab_size;
  limits.session = sessions.shape;
  return limits;
}

// What the ranks must agree on to compute the same: each would serve, but not the same model.
void require_same_everywhere(Communicator& group, const Config& config, const ModelConfig& model,
                             const Checkpoint& checkpoint, const SessionSizing& sessions,
                             const std::string& device) {
  const std::string directory = config.model.path.string();
  require_same(group, checkpoint.fingerprint(), "checkpoint files in " + directory);
  require_same(group, model.fingerprint, "config.json in " + directory);
  std::ostringstream settings;
  settings << config.model.weights << ' ' << sessions.shape.window.sink_tokens << ' '
           << sessions.shape.window.window_tokens << ' ' << sessions.shape.max_context << ' '
           << sessions.shape.sink_capacity << ' ' << sessions.shape.ring_capacity << ' ' << config.cache.type
           << ' ' << sessions.session_chunk << ' ' << config.engine.prefill_chunk << ' ' << device;
  require_same(group, fingerprint_of(settings.str()),
               "settings (model.weights, cache, engine or parallel.device)");
}

// Collective. Threads are left out: they decide nothing of it.
std::string describe_arithmetic(Communicator& group, const Config& config, const kernels::Backend& backend) {
  const std::string description = backend.description();
  const std::string own = description.substr(0, description.rfind(", "));
  std::string all;
  for (const std::string& one : all_gather_strings(group, own)) {
    if (all.find(one) == std::string::npos) all += one + "; ";
  }
  return fmt::format("{}{} rank(s); weights {}, cache {}", all, group.size(), config.model.weights,
                     config.cache.type);
}

}  // namespace

std::string model_fingerprint(const Checkpoint& checkpoint, const ModelConfig& config) {
  return fmt::format("{:016x}{:016x}", checkpoint.fingerprint(), config.fingerprint);
}

Rank load_rank(Communicator& group, const Config& config, const ModelConfig& model_config,
               const Checkpoint& checkpoint, const SessionSizing& sessions, const LocalRanks& local,
               const std::function<void(std::int64_t, std::int64_t)>& progress) {
  const std::string device = find_device(group, config);
  require_same_everywhere(group, config, model_config, checkpoint, sessions, device);
  std::optional<RankGpu> place;
  if (device == "cuda") place = find_rank_gpu(group, may_share_gpus(config));
  const auto sizing = make_together(
      group, [&] { return size_rank(config, model_config, sessions, group.size(), group.rank()); });
  const std::int64_t memory = find_memory(group, config, place, local.local_size);
  const std::int32_t slots = agree_on_slots(group, config, model_config, sizing, memory);
  const std::int32_t places = agree_on_places(group, config, sizing, slots, memory, local.local_size);
  const KvCacheSizes cache = cache_sizes(sessions.shape, slots, places, cache_type(config));
  const std::string where = local.host + (place ? ", GPU " + std::to_string(place->gpu.number) : "");
  for (const auto& line : all_gather_strings(group, describe_shard(sizing) + " (" + where + ")")) {
    if (group.is_leader()) spdlog::info("{}", line);
  }

  if (group.is_leader() && config.model.weights == "bf16" && checkpoint.holds_f16()) {
    spdlog::warn(
        "the checkpoint's f16 weights are rounded to bf16, which has 3 bits less; model.weights: f32 keeps "
        "them");
  }

  Rank rank;
  const auto session_bytes = all_gather_value(group, sizing.session_bytes);
  rank.slot_bytes = std::accumulate(session_bytes.begin(), session_bytes.end(), std::int64_t{0});
  if (group.is_leader()) {
    spdlog::info("{}", describe_places(use_of_places(config, places),
                                       *std::max_element(session_bytes.begin(), session_bytes.end())));
  }
  const auto cpus = share_of_cpus(group, allowed_cpus());
  if (!bind_to_cpus(cpus))
    spdlog::warn("rank {}: the host does not allow setting CPU affinity", group.rank());
  const std::int64_t threads = config.parallel.threads.value_or(
      threads_of_local_rank(std::ssize(cpus), cpu_quota(), local.local_rank, local.local_size));
  const kernels::BackendOptions options = {.device = device,
                                           .threads = static_cast<int>(threads),
                                           .gpu = place ? place->gpu.number : 0,
                                           .through_host = may_share_gpus(config),
                                           .patience = to_milliseconds(config.parallel.stuck_seconds)};
  rank.backend = make_together(group, [&] { return kernels::make_backend(options, group); });

  rank.model_fingerprint = model_fingerprint(checkpoint, model_config);
  rank.arithmetic = describe_arithmetic(group, config, *rank.backend);

  const auto begin = std::chrono::steady_clock::now();
  rank.limits = plan_limits(model_config, sessions, cache, max_step_rows(config, cache.num_slots));
  rank.snapshots = agree_on_snapshots(group, config, model_config, sizing.shard, cache, rank);
  rank.limits.has_snapshots = rank.snapshots != nullptr;
  rank.parking_places = rank.snapshots ? use_of_places(config, places).parking : places;
  together(group, [&] {
    Weights weights =
        load_weights(checkpoint, model_config, sizing.shard, weight_format(config), *rank.backend, progress);
    rank.model = std::make_unique<Model>(model_config, sizing.shard, std::move(weights), cache,
                                         rank.limits.max_rows, *rank.backend);
    rank.runner = std::make_unique<StepRunner>(*rank.model, rank.limits, rank.snapshots.get());
    rank.backend->wait(rank.backend->mark());  // what loading queued fails here, or not at all
  });
  if (group.is_leader()) {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    spdlog::info("loaded {} in {:.1f} s: {} weights, {} sessions, {} rank(s), {}", config.model.path.string(),
                 seconds.count(), config.model.weights, cache.num_slots, group.size(),
                 rank.backend->description());
  }
  return rank;
}

}  // namespace sinkstream
