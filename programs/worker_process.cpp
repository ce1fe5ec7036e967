#include "programs/worker_process.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "coordinator/coordinator.h"
#include "coordinator/http/bound_address.h"
#include "coordinator/http/server.h"
#include "parallel/communicator/mpi_communicator.h"
#include "parallel/start/affinity.h"
#include "parallel/start/launch_mismatch.h"
#include "parallel/start/together.h"
#include "parallel/watch/liveness.h"
#include "parallel/watch/watched_communicator.h"
#include "programs/config.h"
#include "programs/rank.h"
#include "programs/signals.h"
#include "programs/sizing.h"
#include "text/chat/chat_template.h"
#include "text/tokenizer/tokenizer.h"
#include "worker/engine/engine_loop.h"
#include "worker/model/checkpoint.h"

namespace sinkstream {
namespace {

using Clock = std::chrono::steady_clock;

// How long a watchdog that heard of a dead rank itself goes before mpirun's word that the group ends: its
// message names the rank.
constexpr std::chrono::milliseconds kLauncherGrace{300};

std::chrono::milliseconds to_milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

// What ends a group: a request to drain, or the loss of a rank. Callbacks come from the signal and watchdog
// threads, and may come before there is a coordinator.
class Ending {
 public:
  // A drain that was asked for while loading begins now.
  void serve_with(Coordinator& coordinator, EngineLoop& engine, double drain_seconds) {
    const std::lock_guard lock(mutex_);
    coordinator_ = &coordinator;
    engine_ = &engine;
    drain_seconds_ = drain_seconds;
    if (asked_) start_drain();
  }
  void stop_serving() {
    std::thread drain;
    {
      const std::lock_guard lock(mutex_);
      drain = std::move(drain_thread_);  // which has stopped the engine, but may not be through yet
    }
    if (drain.joinable()) drain.join();
    const std::lock_guard lock(mutex_);
    coordinator_ = nullptr;
  }

  // The first call begins; later ones change nothing.
  void drain() {
    const std::lock_guard lock(mutex_);
    if (std::exchange(asked_, true)) return;
    if (coordinator_) {
      start_drain();
    } else {
      spdlog::info("asked to end while loading");
    }
  }
  // Throws StartupError (ExitCode::ok) when the group was asked to end before it served.
  void give_up_loading_if_asked() {
    const std::lock_guard lock(mutex_);
    if (asked_) throw StartupError(ExitCode::ok, "ended while loading, as asked");
  }

  void fail(const std::string& message) {
    const std::lock_guard lock(mutex_);
    if (coordinator_) coordinator_->fail(message);
  }

 private:
  void start_drain() {  // with the mutex
    spdlog::info("ending: no new requests; streams in flight have {:g} s", drain_seconds_);
    drain_thread_ = std::thread([coordinator = coordinator_, engine = engine_, seconds = drain_seconds_] {
      coordinator->begin_drain();
      if (!coordinator->wait_until_drained(Clock::now() + to_milliseconds(seconds))) {
        spdlog::warn("streams were still in flight after {:g} s; they end with an error event", seconds);
      }
      engine->stop();
    });
  }

  std::mutex mutex_;
  bool asked_ = false;
  Coordinator* coordinator_ = nullptr;
  EngineLoop* engine_ = nullptr;
  double drain_seconds_ = 0;
  std::thread drain_thread_;
};

SignalHandlers make_handlers(const Communicator& group, Liveness& liveness, Ending& ending) {
  SignalHandlers handlers;
  handlers.on_drain = [&group, &liveness, &ending] {
    ending.drain();
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
auto progress_logger(const Communicator& group, Liveness& liveness, Ending& ending) {
  return [&, next = Clock::now() + std::chrono::seconds(1)](std::int64_t done, std::int64_t total) mutable {
    liveness.working("loading weights", 0);
    ending.give_up_loading_if_asked();
    if (!group.is_leader() || Clock::now() < next) return;
    next = Clock::now() + std::chrono::seconds(1);
    spdlog::info("weights: {} of {} ({} %)", show_bytes(done), show_bytes(total),
                 100 * done / std::max<std::int64_t>(1, total));
  };
}

// What only the leader needs: text in, text out.
struct Text {
  std::optional<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  std::optional<TokenId> sink_token;
  std::vector<TokenId> end_tokens;  // the model's, and the tokenizer's own, which chat tunes may name alone
};

// Throws StartupError (ExitCode::config) unless it is a token that the model knows.
TokenId find_sink_token(const std::string& name, const Tokenizer& tokenizer, std::int64_t vocab_size) {
  const std::optional<TokenId> token = tokenizer.find(name);
  if (token && *token < vocab_size) return *token;
  throw StartupError(ExitCode::config,
                     "model.sink_token: \"" + name + "\" is not a token of this model's tokenizer");
}

// The model's end tokens, and the tokenizer's own if the model has it.
std::vector<TokenId> find_end_tokens(const ModelConfig& model, const TemplateSources& sources,
                                     const Tokenizer& tokenizer) {
  std::vector<TokenId> end_tokens = model.end_tokens;
  const auto name = sources.special_tokens.find("eos_token");
  if (name == sources.special_tokens.end() || name->second.empty()) return end_tokens;
  const std::optional<TokenId> token = tokenizer.find(name->second);
  const bool in_model = token && *token < model.vocab_size;
  if (!in_model) {
    spdlog::warn("the end token \"{}\" {}: answers will not end at it", name->second,
                 token ? "is not one of the model's" : "is not defined by any file of the tokenizer");
  }
  if (in_model && std::ranges::find(end_tokens, *token) == end_tokens.end()) end_tokens.push_back(*token);
  return end_tokens;
}

// Throws StartupError (ExitCode::model) where only other formats of a tokenizer are there.
void require_tokenizer_json(const std::filesystem::path& directory) {
  if (std::filesystem::exists(directory / "tokenizer.json")) return;
  for (const char* other :
       {"tokenizer.model", "spiece.model", "vocab.json", "tiktoken.model", "tekken.json"}) {
    if (!std::filesystem::exists(directory / other)) continue;
    const std::string path = directory.string();
    throw StartupError(ExitCode::model, path + ": has " + other +
                                            " but no tokenizer.json, the format that is read here. Make " +
                                            "one with transformers: AutoTokenizer.from_pretrained(\"" + path +
                                            "\").save_pretrained(\"" + path + "\")");
  }
}

Text load_text(Communicator& group, const Config& config, const ModelConfig& model) {
  Text text;
  together(group, [&] {
    if (!group.is_leader()) return;
    require_tokenizer_json(config.model.path);
    text.tokenizer.emplace(Tokenizer::load(config.model.path / "tokenizer.json"));
    const TemplateSources sources = find_template(config.model.path);
    text.chat_template.emplace(sources);
    text.end_tokens = find_end_tokens(model, sources, *text.tokenizer);
    if (text.tokenizer->vocab_size() > model.vocab_size) {
      spdlog::warn("the tokenizer has {} tokens, the model only {}: text that needs the others is refused",
                   text.tokenizer->vocab_size(), model.vocab_size);
    }
    if (config.model.sink_token.empty()) return;
    text.sink_token = find_sink_token(config.model.sink_token, *text.tokenizer, model.vocab_size);
  });
  return text;
}

EngineLimits engine_limits(const Config& config, const ModelConfig& model, const SessionPlan& sessions,
                           const PlanLimits& limits, const Text& text) {
  EngineLimits engine;
  engine.model_name = config.model.name;
  engine.model_aliases = config.model.aliases;
  engine.vocab_size = model.vocab_size;
  engine.max_context = sessions.max_context;
  engine.window = sessions.window;
  engine.sink_token = text.sink_token;
  engine.end_tokens = text.end_tokens;
  engine.default_max_tokens = config.engine.default_max_tokens;
  engine.max_tokens = config.engine.max_tokens;
  engine.max_queue = static_cast<std::int32_t>(config.engine.max_queue);
  engine.num_slots = limits.num_slots;
  engine.stuck_seconds = config.parallel.stuck_seconds;
  return engine;
}

SchedulerLimits scheduler_limits(const Config& config, const SessionPlan& sessions, const PlanLimits& limits,
                                 const Text& text) {
  return {limits.num_slots,       config.engine.prefill_chunk,
          sessions.session_chunk, sessions.max_context,
          sessions.window,        text.end_tokens};
}

// Ends the whole group; the watchdog does it.
[[noreturn]] void lose_group(Liveness& liveness, const std::exception& error) {
  liveness.fail(error.what());
  while (true) pause();
}

// Ends the ending's use of coordinator and engine, whichever way the scope is left.
class ServingScope {
 public:
  explicit ServingScope(Ending& ending) : ending_(ending) {}
  ~ServingScope() { ending_.stop_serving(); }
  ServingScope(const ServingScope&) = delete;
  ServingScope& operator=(const ServingScope&) = delete;

 private:
  Ending& ending_;
};

// The leader's part: HTTP in front, the engine's loop on this thread.
void lead(Communicator& group, Liveness& liveness, Ending& ending, const Config& config,
          const ModelConfig& model, const SessionPlan& sessions, Rank& rank, const Text& text,
          BoundAddress address) {
  EngineLoop engine(
      engine_limits(config, model, sessions, rank.limits, text),
      scheduler_limits(config, sessions, rank.limits, text), *rank.runner, group,
      [&liveness] { liveness.idle(); }, [&liveness] { return liveness.ranks(); });
  std::optional<Coordinator> coordinator;
  const ServingScope scope(ending);  // ends before the coordinator does
  together(group, [&] {
    coordinator.emplace(engine, *text.tokenizer, *text.chat_template, config.server);
    ending.serve_with(*coordinator, engine, config.server.drain_seconds);
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
  const SessionPlan sessions = make_together(mpi_group, [&] { return plan_sessions(config, model); });
  std::optional<BoundAddress> address;  // the leader's, from here on: before the model is loaded
  together(mpi_group, [&] {
    if (!mpi_group.is_leader()) return;
    check_server_settings(config.server);
    address.emplace(config.server);
  });
  if (mpi_group.is_leader()) {
    for (const auto& warning : sessions.warnings) spdlog::warn("{}", warning);
  }

  Ending ending;
  const LocalRanks local = find_local_ranks(mpi_group);
  LivenessSettings liveness_settings;
  liveness_settings.stuck_after = to_milliseconds(config.parallel.stuck_seconds);
  Liveness liveness(mpi_group, local, liveness_settings,
                    [&ending](const std::string& message) { ending.fail(message); });
  if (mpi_group.is_leader()) liveness.on_drain_requested([&ending] { ending.drain(); });
  const SignalWatch signals(make_handlers(mpi_group, liveness, ending));
  WatchedCommunicator group(mpi_group, liveness);
  try {
    const auto checkpoint =
        make_together(group, [&] { return Checkpoint(config.model.path, model.tied_tensors()); });
    const Text text = load_text(group, config, model);
    Rank rank = load_rank(group, config, model, checkpoint, sessions, local,
                          progress_logger(group, liveness, ending));
    if (group.is_leader()) {
      lead(group, liveness, ending, config, model, sessions, rank, text, *std::move(address));
    } else {
      together(group, [] {});  // the leader's server has started
      follow(group, *rank.runner, rank.limits);
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
