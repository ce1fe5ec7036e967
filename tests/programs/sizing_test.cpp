#include "programs/sizing.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/show_bytes.h"
#include "programs/parking_room.h"
#include "tests/paths.h"
#include "tests/unpadded_bytes.h"
#include "worker/model/tensors.h"

namespace sinkstream {
namespace {

Config config_of(const std::string& name) {
  return load_config((project_dir() / "configs" / name).string(), {});
}

TEST(Sizing, SinkWindowAndDenseSessions) {
  Config config = config_of("demo.yaml");
  const ModelConfig model = read_model_config(config.model.path);
  SessionSizing sizing = size_sessions(config, model);
  EXPECT_EQ(sizing.shape.window, (CacheWindow{4, 252}));
  EXPECT_EQ(sizing.shape.max_context, 0);
  EXPECT_EQ(sizing.shape.ring_capacity, 252 + 128);
  EXPECT_EQ(sizing.shape.sink_capacity, 128);
  EXPECT_TRUE(sizing.warnings.empty());

  config.cache.mode = CacheMode::window;
  sizing = size_sessions(config, model);
  EXPECT_EQ(sizing.shape.window, (CacheWindow{0, 252}));
  EXPECT_EQ(sizing.shape.sink_capacity, 0);

  config.cache.mode = CacheMode::dense;
  sizing = size_sessions(config, model);
  EXPECT_EQ(sizing.shape.max_context, 512);
  EXPECT_EQ(sizing.shape.ring_capacity, 512);
  config.cache.max_context = 9000;
  EXPECT_EQ(size_sessions(config, model).shape.max_context, 9000);
}

TEST(Sizing, AModelsOwnSlidingWindowIsTheLimit) {
  Config config = config_of("demo.yaml");
  ModelConfig model = read_model_config(config.model.path);
  model.sliding_window = 100;
  SessionSizing sizing = size_sessions(config, model);
  EXPECT_EQ(sizing.shape.window, (CacheWindow{4, 100}));
  EXPECT_EQ(sizing.shape.ring_capacity, 100 + 128);
  ASSERT_EQ(sizing.warnings.size(), 1u);
  EXPECT_NE(sizing.warnings[0].find("window_tokens 252 is lowered to the model's own sliding_window, 100"),
            std::string::npos);

  config.cache.mode = CacheMode::dense;
  sizing = size_sessions(config, model);
  EXPECT_EQ(sizing.shape.window, (CacheWindow{0, 100})) << "it masks";
  EXPECT_EQ(sizing.shape.max_context, 512) << "but what is kept ends where dense does";
  EXPECT_EQ(sizing.shape.ring_capacity, 512);
  EXPECT_TRUE(sizing.warnings.empty());

  config.cache.mode = CacheMode::sink;
  model.sliding_window = 252;
  EXPECT_TRUE(size_sessions(config, model).warnings.empty());
}

TEST(Sizing, WarnsBeyondTheTrainedContext) {
  Config config = config_of("demo.yaml");
  config.cache.window_tokens = 509;
  const ModelConfig model = read_model_config(config.model.path);
  const auto warnings = size_sessions(config, model).warnings;
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("trained on 512"), std::string::npos);
}

// Llama-2-70B: 68,976,648,192 parameters, of which the norms are kept as float32 and on every rank.
TEST(Sizing, TheSeventyBillionOnEightRanks) {
  const Config config = config_of("llama70b.yaml");
  const ModelConfig model = read_model_config(config.model.path);
  const SessionSizing sessions = size_sessions(config, model);
  std::int64_t weights = 0;
  for (int rank = 0; rank < 8; ++rank) {
    const RankSizing sizing = size_rank(config, model, sessions, 8, rank);
    EXPECT_EQ(sizing.shard.heads, (Range{rank * 8, rank * 8 + 8}));
    EXPECT_EQ(sizing.shard.kv_heads, (Range{rank, rank + 1}));
    // Keys and values of one KV head of 128 in 80 layers: a bf16 ring and float32 sinks.
    EXPECT_EQ(sizing.session_bytes,
              80 * 2 * 128 * (sessions.shape.ring_capacity * 2 + sessions.shape.sink_capacity * 4));
    const std::int64_t unpadded =
        weight_bytes(model, sizing.shard, weight_format(config), kernels::unpadded_bytes);
    weights += unpadded;
    EXPECT_GE(sizing.weight_bytes, unpadded);
    EXPECT_LT(sizing.weight_bytes, unpadded + (80 * 4 + 2) * (std::int64_t{2} << 20)) << "huge pages";
  }
  const std::int64_t norms = 161 * 8192;
  EXPECT_EQ(weights, (68'976'648'192 - norms) * 2 + 8 * norms * 4);
  const std::string text = report_sizing(config, model, 8).text;
  EXPECT_NE(text.find("rank 7: heads 56..63, KV heads 7..7"), std::string::npos) << text;
}

// What docs/gpus.md promises: 97 % of the memory that a card with 80 GB and one with 141 GB leaves to
// programs.
TEST(Sizing, TheSeventyBillionOnEightCudaGpus) {
  struct Promise {
    std::int64_t gib;
    const char* weights;
    const char* sessions;
  };
  for (const Promise& promise : std::initializer_list<Promise>{{75, "bf16", "236 session(s)"},
                                                               {75, "int8", "267 session(s)"},
                                                               {75, "int4", "281 session(s)"},
                                                               {134, "bf16", "478 session(s)"},
                                                               {134, "int8", "509 session(s)"},
                                                               {134, "int4", "523 session(s)"}}) {
    Config config = config_of("llama70b.yaml");
    config.parallel.device = "cuda";
    config.model.weights = promise.weights;
    const SizingReport report =
        report_sizing(config, read_model_config(config.model.path), 8, promise.gib << 30);
    EXPECT_TRUE(report.fits);
    EXPECT_NE(report.text.find(promise.sessions), std::string::npos) << report.text;
  }
}

TEST(Sizing, AStepTakesMoreThanActivations) {
  const Config config = config_of("demo.yaml");
  const ModelConfig model = read_model_config(config.model.path);
  const RankSizing rank = size_rank(config, model, size_sessions(config, model), 2, 1);
  const std::int64_t rows = max_step_rows(config, 1);
  const auto of_row = static_cast<std::int64_t>(sizeof(kernels::Choice) + sizeof(kernels::AttentionRow) +
                                                2 * sizeof(std::int64_t) + 2 * sizeof(std::int32_t));
  const auto of_outputs = kOutputsAtOnce * static_cast<std::int64_t>(sizeof(kernels::ChoiceTask) + 4);
  EXPECT_EQ(rank.step_bytes, activation_bytes(model, rank.shard, rows) + rows * of_row + of_outputs);
  EXPECT_EQ(rank.step_bytes_per_slot,
            activation_bytes(model, rank.shard, 7) - activation_bytes(model, rank.shard, 6) + of_row);
}

TEST(Sizing, TooManyRanksIsAConfigurationError) {
  const Config config = config_of("demo.yaml");
  const ModelConfig model = read_model_config(config.model.path);
  try {
    size_rank(config, model, size_sessions(config, model), 5, 0);
    FAIL() << "4 heads on 5 ranks";
  } catch (const StartupError& error) {
    EXPECT_EQ(error.code(), ExitCode::config);
    EXPECT_NE(std::string(error.what()).find("5 ranks"), std::string::npos) << error.what();
  }
}

TEST(Sizing, SlotsFitOrTheErrorSaysWhatWouldHelp) {
  Config config = config_of("demo.yaml");
  const ModelConfig model = read_model_config(config.model.path);
  const RankSizing rank = size_rank(config, model, size_sessions(config, model), 2, 0);
  const std::int64_t base = rank.weight_bytes + rank.step_bytes + rank.backend_bytes;
  const std::int64_t per_slot = rank.session_bytes + rank.step_bytes_per_slot;
  EXPECT_EQ(sessions_that_fit(rank, base + 3 * per_slot), 3);
  EXPECT_EQ(sessions_that_fit(rank, base + 3 * per_slot - 1), 2);
  EXPECT_EQ(choose_slots(config, model, rank, base + 3 * per_slot), 3);
  EXPECT_EQ(choose_slots(config, model, rank, base + 100'000 * per_slot), 64);
  config.cache.slots = 4;
  try {
    choose_slots(config, model, rank, base + 3 * per_slot);
    FAIL() << "4 slots where 3 fit";
  } catch (const StartupError& error) {
    EXPECT_EQ(error.code(), ExitCode::device);
    EXPECT_NE(std::string(error.what()).find("it fits with cache.slots: 3"), std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find(show_bytes(per_slot) + " are missing"), std::string::npos);
  }
}

// On CPUs out of the same memory as slots: what is asked for is kept free of them, and auto takes of what
// they leave. Beside GPUs out of the host's.
TEST(Sizing, ParkedSessionsHaveRoomBesideSlots) {
  Config config = config_of("demo.yaml");
  config.parallel.device = "cpu";
  const ModelConfig model = read_model_config(config.model.path);
  const SessionSizing sessions = size_sessions(config, model);
  const auto size = [&] { return size_rank(config, model, sessions, 2, 0); };
  const RankSizing rank = size();
  const std::int64_t base = rank.weight_bytes + rank.step_bytes + rank.backend_bytes;
  const std::int64_t per_slot = rank.session_bytes + rank.step_bytes_per_slot;
  const auto left = [&](std::int64_t bytes) { return host_bytes_left(config, rank, 3, bytes, 2); };
  EXPECT_EQ(left(base + 3 * per_slot + 7), 7);
  EXPECT_EQ(choose_places(config, rank, 40 * rank.session_bytes), 10) << "a quarter";
  EXPECT_EQ(choose_places(config, rank, 3 * rank.session_bytes), 0);
  EXPECT_EQ(choose_places(config, rank, -1), 0);
  EXPECT_EQ(choose_places(config, rank, 1'000'000 * rank.session_bytes), 1024);

  config.parking.bytes = 5 * rank.session_bytes + 1;
  EXPECT_EQ(sessions_that_fit(size(), base + 3 * per_slot + *config.parking.bytes), 3);
  EXPECT_EQ(choose_places(config, rank, *config.parking.bytes), 5);
  try {
    choose_places(config, rank, *config.parking.bytes - 1);
    FAIL() << "more than there is";
  } catch (const StartupError& error) {
    EXPECT_EQ(error.code(), ExitCode::device);
    EXPECT_NE(std::string(error.what()).find("sessions.parked_bytes asks for"), std::string::npos);
  }
  EXPECT_NE(report_sizing(config, model, 2).text.find("room to park 5 session(s) of "), std::string::npos);
  config.sessions.directory = "sessions";
  const std::string with_snapshots = report_sizing(config, model, 2).text;
  EXPECT_NE(with_snapshots.find("room to park 3 session(s) of "), std::string::npos);
  EXPECT_NE(with_snapshots.find(" and for two that go to disk or come from there"), std::string::npos);
  EXPECT_FALSE(use_of_places(config, 1).has_snapshots) << "there is no room for two";
  config.sessions.directory.clear();
  config.parking.bytes = 0;
  EXPECT_NE(report_sizing(config, model, 2).text.find("room to park 0 session(s) of "), std::string::npos);

  config.parallel.device = "cuda";
  config.parking.bytes = 5 * rank.session_bytes;
  EXPECT_EQ(size().parked_bytes, 0);
  EXPECT_NE(report_sizing(config, model, 2, std::int64_t{1} << 40).text.find("room to park 5 session(s) of "),
            std::string::npos);
}

TEST(Sizing, SaysWhetherTheConfiguredSlotsFit) {
  Config config = config_of("demo.yaml");
  const ModelConfig model = read_model_config(config.model.path);
  EXPECT_NE(report_sizing(config, model, 2).text.find("cache.slots auto takes"), std::string::npos);
  config.cache.slots = 3;
  EXPECT_NE(report_sizing(config, model, 2).text.find("cache.slots asks for 3\n"), std::string::npos);
  config.cache.slots = 1'000'000'000;
  EXPECT_NE(report_sizing(config, model, 2).text.find("asks for 1000000000, which is too many"),
            std::string::npos);
}

TEST(Sizing, SaysWhetherTheModelFitsInTheMemoryThatIsGiven) {
  Config config = config_of("demo.yaml");
  const ModelConfig model = read_model_config(config.model.path);
  const RankSizing rank = size_rank(config, model, size_sessions(config, model), 2, 0);
  const std::int64_t base = rank.weight_bytes + rank.step_bytes + rank.backend_bytes;
  const std::int64_t per_slot = rank.session_bytes + rank.step_bytes_per_slot;
  EXPECT_TRUE(report_sizing(config, model, 2, base + per_slot).fits);
  EXPECT_FALSE(report_sizing(config, model, 2, base).fits);
  EXPECT_NE(report_sizing(config, model, 2, base).text.find("the model does not fit"), std::string::npos);
  config.cache.slots = 3;
  EXPECT_TRUE(report_sizing(config, model, 2, base + 4 * per_slot).fits);
  EXPECT_FALSE(report_sizing(config, model, 2, base + 2 * per_slot).fits);
}

TEST(Sizing, WarnsOfAContextThatNothingReads) {
  Config config = config_of("demo.yaml");
  config.cache.max_context = 400;
  const auto warnings = size_sessions(config, read_model_config(config.model.path)).warnings;
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("cache.max_context is without effect"), std::string::npos);
}

}  // namespace
}  // namespace sinkstream
