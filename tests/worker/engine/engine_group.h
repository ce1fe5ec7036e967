// The engine on a real, tiny checkpoint, with threads as ranks.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "parallel/communicator/in_process.h"
#include "tests/kernels/awkward/awkward_backend.h"
#include "tests/paths.h"
#include "tests/worker/engine/told.h"
#include "tests/worker/model/support/rank_group.h"
#include "worker/engine/engine_loop.h"
#include "worker/model/model.h"

namespace sinkstream {

inline const std::filesystem::path kEngineTestModel = test_data_dir() / "models" / "llama-gqa";

struct GroupOptions {
  int ranks = 1;
  std::int32_t slots = 4;
  std::int32_t places = 0;
  kernels::CacheType ring = kernels::CacheType::f32;
  std::int64_t prefill_chunk = 16;
  std::int32_t max_queue = 64;
  CacheWindow window{4, 28};
  bool dense = false;  // then the window is all that a session may see
  std::string backend = "cpu";
  std::filesystem::path snapshots;  // where each rank has a directory for them; empty: there are none
  // With the awkward backend: called before a rank begins a turn, copies a slot or takes memory for a place,
  // and may throw.
  std::function<void(int rank)> before_turn = [](int) {}, before_copy = [](int) {}, before_place = [](int) {};
  // Called when the leader's run() has thrown GroupEnded; without it that goes on.
  std::function<void()> group_ended;
};

// A worker group whose ranks are threads. The constructor returns when it serves; the destructor ends it.
class TestGroup {
 public:
  explicit TestGroup(GroupOptions options)
      : options_(options),
        communicators_(make_in_process_group(options.ranks)),
        devices_(make_in_process_group(options.ranks)),
        most_in_flight_(static_cast<std::size_t>(options.ranks)) {
    std::latch ready(options.ranks);
    for (int rank = 0; rank < options.ranks; ++rank) {
      threads_.emplace_back([this, rank, &ready] { run_rank(rank, ready); });
    }
    ready.wait();
  }
  ~TestGroup() { most_steps_in_flight(); }

  // Ends the group. How many steps each rank had in flight at most; 0 where the backend does not count them.
  const std::vector<std::uint64_t>& most_steps_in_flight() {
    if (!threads_.empty()) engine->stop();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
    return most_in_flight_;
  }

  // Sends it under a number of its own, which it returns.
  template <typename C>
  RequestId send(C command) {
    command.request = next_request_++;
    const RequestId request = command.request;
    engine->send(std::move(command));
    return request;
  }
  // Until it ends.
  const Told& run(Generate command) {
    const RequestId request = send(std::move(command));
    ledger->wait_for_end(request);
    EXPECT_TRUE(ledger->accepted(request));
    return ledger->of(request);
  }

  EngineLoop* engine = nullptr;
  const std::shared_ptr<Ledger> ledger = std::make_shared<Ledger>();

 private:
  void run_rank(int rank, std::latch& ready) {
    Communicator& communicator = *communicators_[static_cast<std::size_t>(rank)];
    const ModelConfig config = read_model_config(kEngineTestModel);
    const ShardPlan shard = make_shard_plan(config.shard_sizes(), options_.ranks, rank);
    const auto backend = make_test_backend(options_.backend, *devices_[static_cast<std::size_t>(rank)]);
    const std::int64_t window = options_.window.window_tokens;
    if (auto* const awkward = dynamic_cast<kernels::AwkwardBackend*>(backend.get())) {
      awkward->before_turn = [this, rank] { options_.before_turn(rank); };
      awkward->before_copy = [this, rank] { options_.before_copy(rank); };
      awkward->before_host_memory = [this, rank] { options_.before_place(rank); };
    }
    const SessionShape session{.window = options_.window,
                               .max_context = options_.dense ? window : 0,
                               .sink_capacity = options_.window.sink_tokens,
                               .ring_capacity = options_.dense ? window : window + options_.prefill_chunk,
                               .num_layers = config.num_layers};
    const bool has_snapshots = !options_.snapshots.empty();
    const std::int32_t places = options_.places + (has_snapshots ? 2 : 0);
    const KvCacheSizes cache = cache_sizes(session, options_.slots, places, options_.ring);
    const std::int64_t max_rows = options_.slots + options_.prefill_chunk;
    Model model(
        config, shard,
        load_weights(Checkpoint(kEngineTestModel), config, shard, kernels::WeightFormat::f32, *backend, {}),
        cache, max_rows, *backend);
    PlanLimits limits;
    limits.num_slots = options_.slots;
    limits.num_places = places;
    limits.has_snapshots = has_snapshots;
    limits.max_rows = max_rows;
    limits.vocab_size = config.vocab_size;
    limits.session = session;
    std::unique_ptr<SnapshotFiles> files;
    if (has_snapshots) {
      files = std::make_unique<SnapshotFiles>(
          SnapshotSettings{options_.snapshots / std::to_string(rank), "a test", std::int64_t{1} << 30});
    }
    StepRunner runner(model, limits, files.get());
    if (rank > 0) {
      ready.count_down();
      follow(communicator, runner, limits);
    } else {
      lead(communicator, runner, config, session, files.get(), ready);
    }
    if (const auto* awkward = dynamic_cast<const kernels::AwkwardBackend*>(backend.get())) {
      most_in_flight_[static_cast<std::size_t>(rank)] = awkward->most_marks_unwaited();
    }
  }

  void lead(Communicator& communicator, StepRunner& runner, const ModelConfig& config,
            const SessionShape& session, const SnapshotFiles* files, std::latch& ready) {
    EngineLimits engine_limits;
    engine_limits.vocab_size = config.vocab_size;
    engine_limits.session = session;
    engine_limits.max_queue = options_.max_queue;
    engine_limits.num_slots = options_.slots;
    SchedulerLimits scheduler_limits{.num_slots = options_.slots,
                                     .num_places = options_.places,
                                     .place_bytes = 1,
                                     .max_queue = options_.max_queue,
                                     .prefill_chunk = options_.prefill_chunk,
                                     .session_chunk = options_.prefill_chunk,
                                     .session = session};
    if (files) {
      scheduler_limits.find_snapshot = [files](std::uint64_t number) { return files->find(number); };
    }
    loop_ = std::make_unique<EngineLoop>(engine_limits, scheduler_limits, runner, communicator);
    engine = loop_.get();
    engine->connect(ledger);
    ready.count_down();
    try {
      engine->run();
    } catch (const GroupEnded&) {
      if (!options_.group_ended) throw;
      options_.group_ended();
    }
  }

  GroupOptions options_;
  RequestId next_request_ = 1;
  std::vector<std::unique_ptr<Communicator>> communicators_, devices_;
  std::vector<std::uint64_t> most_in_flight_;  // by rank, once the group has ended
  std::unique_ptr<EngineLoop> loop_;           // stays when it has ended
  std::vector<std::thread> threads_;
};

inline Generate greedy_turn(std::vector<TokenId> prompt, std::int64_t max_tokens) {
  Generate command = one_turn(std::move(prompt), max_tokens);
  command.params.sampling.temperature = 0;
  return command;
}

}  // namespace sinkstream
