#include "programs/worker_process.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "base/durations.h"
#include "base/error.h"
#include "base/log.h"
#include "base/show_bytes.h"
#include "coordinator/coordinator.h"
#include "coordinator/http/bound_address.h"
#include "coordinator/http/server.h"
#include "coordinator/store/session_store.h"
#include "parallel/communicator/mpi_communicator.h"
#include "parallel/start/affinity.h"
#include "parallel/start/launch_mismatch.h"
#include "parallel/start/local_ranks.h"
#include "parallel/start/together.h"
#include "parallel/watch/liveness.h"
#include "parallel/watch/watched_communicator.h"
#include "programs/config.h"
#include "programs/model_text.h"
#include "programs/rank.h"
#include "programs/rank_communicator.h"
#include "programs/shutdown.h"
#include "programs/signals.h"
#include "programs/sizing.h"
#include "worker/engine/engine_loop.h"
#include "worker/model/checkpoint/checkpoint.h"

namespace sinkstream {
namespace {

using Clock = std::chrono::steady_clock;

// How long a watchdog that heard of a dead rank itself goes before mpirun's word that the group ends: its
// message names the rank.
constexpr std::chrono::milliseconds kLauncherGrace{300};

SignalHandlers make_handlers(const Communicator& group, Liveness& liveness, Shutdown& shutdown) {
  SignalHandlers handlers;
  handlers.on_drain = [&group, &liveness, &shutdown] {
    shutdown.drain();
    if (!group.is_leader()) liveness.request_drain();
  };
  if (!started_by_mpi_launcher()) return handlers;  // then SIGTERM from the parent asks for a drain
  handlers.on_abort_by_launcher = [&liveness] {
    std::this_thread::sleep_for(kLauncherGrace);
    liveness.fail("the launcher is ending the group (SIGTERM from mpirun)");
  };
  return handlers;
}

// Logs at most once a second.
auto progress_logger(const Communicator& group, Liveness& liveness, Shutdown& shutdown) {
  return [&, next = Clock::now() + std::chrono::seconds(1)](std::int64_t done, std::int64_t total) mutable {
    liveness.working("loading weights", 0);
    shutdown.give_up_loading_if_asked();
    if (!group.is_leader() || Clock::now() < next) return;
    next = Clock::now() + std::chrono::seconds(1);
    spdlog::info("weights: {} of {} ({} %)", show_bytes(done), show_bytes(total),
                 100 * done / std::max<std::int64_t>(1, total));
  };
}

EngineLimits engine_limits(const Config& config, const ModelConfig& model, const SessionSizing& sessions,
                           const Rank& rank, const ModelText& text) {
  EngineLimits engine;
  engine.vocab_size = model.vocab_size;
  engine.session = sessions.shape;
  engine.sink_token = text.sink_token;
  engine.end_tokens = text.end_tokens;
  engine.max_queue = static_cast<std::int32_t>(config.engine.max_queue);
  engine.num_slots = rank.limits.num_slots;
  engine.num_places = rank.parking_places;
  engine.has_snapshots = rank.limits.has_snapshots;
  engine.stuck_seconds = config.parallel.stuck_seconds;
  return engine;
}

ApiSettings api_settings(const Config& config, const Rank& rank) {
  return {.model_name = config.model.name,
          .model_aliases = config.model.aliases,
          .default_max_tokens = config.engine.default_max_tokens,
          .max_tokens = config.engine.max_tokens,
          .sessions = config.sessions,
          .slot_bytes = rank.slot_bytes,
          .model_fingerprint = rank.model_fingerprint,
          .arithmetic = rank.arithmetic};
}

std::function<std::optional<Snapshot>(std::uint64_t)> find_in(const SnapshotFiles& files) {
  return [&files](std::uint64_t session) { return files.find(session); };
}

SchedulerLimits scheduler_limits(const Config& config, const SessionSizing& sessions, const Rank& rank,
                                 const ModelText& text) {
  return {.num_slots = rank.limits.num_slots,
          .num_places = rank.parking_places,
          .place_bytes = rank.slot_bytes,
          .max_queue = static_cast<std::int32_t>(config.engine.max_queue),
          .prefill_chunk = config.engine.prefill_chunk,
          .session_chunk = sessions.session_chunk,
          .prefill_slowdown = config.engine.prefill_slowdown,
          .session = sessions.shape,
          .end_tokens = text.end_tokens,
          .find_snapshot = rank.snapshots ? find_in(*rank.snapshots) : nullptr};
}

// Those that have neither a slot nor a parking place cost more than a copy.
void warn_of_sessions_without_room(const Config& config, const Rank& rank) {
  const std::int64_t room = std::max(1, rank.limits.num_slots + rank.parking_places - 1);
  if (config.sessions.max_sessions.value_or(0) <= room) return;
  spdlog::warn(
      "sessions.max_sessions is {}, but {} slots and {} parking places keep the cache of {} session(s) at "
      "most; "
      "the least recently used are made anew from their tokens when they are used; more "
      "sessions.parked_bytes or "
      "cache.slots make that rare",
      *config.sessions.max_sessions, rank.limits.num_slots, rank.parking_places, room);
}

// Ends the whole group; the watchdog does it.
[[noreturn]] void lose_group(Liveness& liveness, const std::exception& error) {
  liveness.fail(error.what());
  while (true) pause();
}

// The watchdog hears what this rank's loop does.
LoopEvents loop_events(WatchedCommunicator& group, Liveness& liveness) {
  return {[&liveness] { liveness.idle(); }, [&group](std::uint64_t step) { group.begin_step(step); }};
}

// The leader's part: HTTP in front, the engine's loop on this thread.
void lead(WatchedCommunicator& group, Liveness& liveness, Shutdown& shutdown, const Config& config,
          const ModelConfig& model, const SessionSizing& sessions, Rank& rank, const ModelText& text,
          BoundAddress address) {
  EngineLoop engine(engine_limits(config, model, sessions, rank, text),
                    scheduler_limits(config, sessions, rank, text), *rank.runner, group,
                    loop_events(group, liveness), [&liveness] { return liveness.ranks(); });
  warn_of_sessions_without_room(config, rank);
  std::optional<Coordinator> coordinator;
  const Shutdown::Serving serving(shutdown);  // ends before the coordinator does
  together(group, [&] {
    coordinator.emplace(engine, *text.tokenizer, *text.chat_template, api_settings(config, rank),
                        config.server);
    shutdown.serve_with(*coordinator, engine, config.server.drain_seconds);
    coordinator->start(std::move(address));  // logs it
  });
  try {
    engine.run();
  } catch (const std::exception& error) {
    lose_group(liveness, error);  // with the coordinator still there to tell its clients
  }
}

int report(const Communicator& group, const StartupError& error) {
  const auto level = error.code() == ExitCode::ok ? spdlog::level::info : spdlog::level::err;
  if (group.is_leader()) spdlog::log(level, "{}", error.what());
  return static_cast<int>(error.code());
}

int serve(Communicator& mpi_group, const WorkerOptions& options) {
  const Config config =
      make_together(mpi_group, [&] { return load_config(options.config, options.overrides, options.model); });
  set_up_log(config.log, mpi_group.rank());
  const ModelConfig model = make_together(mpi_group, [&] { return read_model_config(config.model.path); });
  const SessionSizing sessions = make_together(mpi_group, [&] { return size_sessions(config, model); });
  std::optional<BoundAddress> address;  // the leader's, from here on: before the model is loaded
  together(mpi_group, [&] {
    if (!mpi_group.is_leader()) return;
    check_server_settings(config.server);
    address.emplace(config.server);
  });
  if (mpi_group.is_leader()) {
    for (const auto& warning : sessions.warnings) spdlog::warn("{}", warning);
  }

  Shutdown shutdown;
  const LocalRanks local = find_local_ranks(mpi_group);
  const auto over_mpi = rank_communicator(mpi_group, config, local);
  Communicator& ranks = over_mpi ? *over_mpi : mpi_group;
  LivenessSettings liveness_settings;
  liveness_settings.stuck_after = to_milliseconds(config.parallel.stuck_seconds);
  Liveness liveness(ranks, local, liveness_settings,
                    [&shutdown](const std::string& message) { shutdown.fail(message); });
  if (mpi_group.is_leader()) liveness.on_drain_requested([&shutdown] { shutdown.drain(); });
  const SignalWatch signals(make_handlers(mpi_group, liveness, shutdown));
  WatchedCommunicator group(ranks, liveness);
  try {
    const auto checkpoint =
        make_together(group, [&] { return Checkpoint(config.model.path, model.tied_tensors()); });
    together(group, [&] {
      if (!group.is_leader() || config.sessions.directory.empty()) return;
      check_store({.directory = config.sessions.directory,
                   .model = model_fingerprint(checkpoint, model),
                   .model_name = config.model.name});
    });
    const ModelText text = load_model_text(group, config.model, model);
    Rank rank = load_rank(group, config, model, checkpoint, sessions, local,
                          progress_logger(group, liveness, shutdown));
    if (group.is_leader()) {
      lead(group, liveness, shutdown, config, model, sessions, rank, text, *std::move(address));
    } else {
      together(group, [] {});  // the leader's server has started
      try {
        follow(group, *rank.runner, rank.limits, loop_events(group, liveness));
      } catch (const std::exception& error) {
        lose_group(
            liveness,
            error);  // with the rank still there: its end would wait for steps that other ranks may have left
      }
    }
  } catch (const StartupError& error) {
    return report(group, error);  // every rank has it and ends in good order
  } catch (const std::exception& error) {
    lose_group(liveness, error);
  }
  if (group.is_leader()) spdlog::info("ended in good order");
  return static_cast<int>(ExitCode::ok);
}

}  // namespace

int run_worker(const WorkerOptions& options) {
  block_signals();
  bind_to_cpus(allowed_cpus());  // before MPI starts threads, which would stay where mpirun bound us
  MpiSession mpi;
  Communicator& group = mpi.communicator();
  set_up_log({}, group.rank());  // until the configuration says more
  try {
    const std::string mismatch = launch_mismatch(group.size());
    if (!mismatch.empty()) throw StartupError(ExitCode::config, mismatch);
    return serve(group, options);
  } catch (const StartupError& error) {
    return report(group, error);
  }
}

}  // namespace sinkstream
