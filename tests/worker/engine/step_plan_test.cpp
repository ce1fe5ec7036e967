#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "worker/engine/plan_limits.h"

namespace sinkstream {
namespace {

PlanLimits limits() {
  PlanLimits limits;
  limits.num_slots = 4;
  limits.num_places = 2;
  limits.has_snapshots = true;
  limits.max_rows = 16;
  limits.vocab_size = 100;
  limits.session.sink_capacity = 8;
  limits.session.window.window_tokens = 64;
  return limits;
}

StepPlan example() {
  StepPlan plan;
  plan.number = 7;
  BeginTurn turn{.slot = 2};
  turn.sampling.temperature = 0.5f;
  turn.sampling.seed = ~0ull;
  turn.sampling.logit_bias = {{3, -100.0f}, {99, 1.5f}};
  turn.sampling.repeat_last_n = 3;
  turn.sampling.earlier_output = {99, 0, 7};
  turn.sampling.min_tokens = 5'000'000'000;
  turn.sampling.end_tokens = {0, 99};
  plan.operations = {CloseSlot{1},
                     OpenSlot{2, {4, 60}},
                     turn,
                     CopySlot{1, 2},
                     RollBackSlot{1, 5'000'000'000},
                     SaveSlot{2, 1},
                     LeaveSlot{2},
                     CopySaved{0, 1},
                     RestoreSlot{2, 1},
                     DropSaved{1},
                     SkipSlot{2, 6'000'000'000},
                     WriteSnapshot{1, {{8, ~0ull}, {4, 60}, 6'000'000'000, 6'000'000'009, 70}},
                     ReadSnapshot{0, {{~0ull, 9}, {4, 60}, 0, 0, 0}},
                     RemoveSnapshot{~0ull},
                     KeepOnlySnapshots{{1, ~0ull}},
                     AskJob{1ull << 60}};
  plan.rows = {{2, 17, 0}, {2, 18, 1}, {3, kernels::kLastChosen, 5'000'000'000}};
  plan.outputs = {{PlanOutput::Kind::score, true, 0, 18, 5}, {PlanOutput::Kind::sample, false, 2, 0, 0}};
  return plan;
}

SamplingParams& sampling_of(StepPlan& plan) {
  return std::get<BeginTurn>(plan.operations[2]).sampling;
}
CacheWindow& window_of(StepPlan& plan) {
  return std::get<OpenSlot>(plan.operations[1]).window;
}

void expect_refused(const StepPlan& plan) {
  EXPECT_THROW(decode(encode(plan), limits()), std::runtime_error);
}

TEST(StepPlan, SurvivesTheWire) {
  const StepPlan plan = example();
  const auto message = encode(plan);
  const StepPlan back = decode(message, limits());
  EXPECT_EQ(encode(back), message);
  EXPECT_EQ(back.number, 7u);
  EXPECT_FALSE(back.last);
  ASSERT_EQ(back.operations.size(), 16u);
  EXPECT_EQ(std::get<CloseSlot>(back.operations[0]).slot, 1);
  EXPECT_EQ(std::get<OpenSlot>(back.operations[1]).window, (CacheWindow{4, 60}));
  const auto& sampling = std::get<BeginTurn>(back.operations[2]).sampling;
  EXPECT_EQ(sampling.logit_bias, (std::vector<std::pair<TokenId, float>>{{3, -100.0f}, {99, 1.5f}}));
  EXPECT_EQ(sampling.seed, ~0ull);
  EXPECT_EQ(sampling.repeat_last_n, 3);
  EXPECT_EQ(sampling.earlier_output, (std::vector<TokenId>{99, 0, 7}));
  EXPECT_EQ(sampling.min_tokens, 5'000'000'000);
  EXPECT_EQ(sampling.end_tokens, (std::vector<TokenId>{0, 99}));
  EXPECT_EQ(std::get<CopySlot>(back.operations[3]).from, 2);
  EXPECT_EQ(std::get<RollBackSlot>(back.operations[4]).length, 5'000'000'000);
  EXPECT_EQ(std::get<SaveSlot>(back.operations[5]).place, 1);
  EXPECT_EQ(std::get<CopySaved>(back.operations[7]).from, 1);
  EXPECT_EQ(std::get<RestoreSlot>(back.operations[8]).slot, 2);
  EXPECT_EQ(std::get<DropSaved>(back.operations[9]).place, 1);
  EXPECT_EQ(std::get<SkipSlot>(back.operations[10]).position, 6'000'000'000);
  const Snapshot& written = std::get<WriteSnapshot>(back.operations[11]).snapshot;
  EXPECT_EQ(written, (Snapshot{{8, ~0ull}, {4, 60}, 6'000'000'000, 6'000'000'009, 70}));
  EXPECT_EQ(std::get<ReadSnapshot>(back.operations[12]).snapshot.name, (SnapshotName{~0ull, 9}));
  EXPECT_EQ(std::get<RemoveSnapshot>(back.operations[13]).session, ~0ull);
  EXPECT_EQ(std::get<KeepOnlySnapshots>(back.operations[14]).sessions,
            (std::vector<std::uint64_t>{1, ~0ull}));
  EXPECT_EQ(std::get<AskJob>(back.operations[15]).job, 1ull << 60);
  ASSERT_EQ(back.rows.size(), 3u);
  EXPECT_EQ(back.rows[2].position, 5'000'000'000);
  EXPECT_EQ(back.rows[2].token, kernels::kLastChosen);
  ASSERT_EQ(back.outputs.size(), 2u);
  EXPECT_EQ(back.outputs[0].target, 18);
  EXPECT_TRUE(back.outputs[0].logprobs);
}

TEST(StepPlan, EveryPrefixAndEveryTailIsRefused) {
  auto message = encode(example());
  for (std::size_t length = 0; length < message.size(); ++length) {
    EXPECT_THROW(decode(std::span(message).first(length), limits()), std::runtime_error) << length;
  }
  message.push_back(std::byte{0});
  EXPECT_THROW(decode(message, limits()), std::runtime_error);
}

TEST(StepPlan, SaysWhyItIsRefused) {
  const auto why = [](std::vector<std::byte> message) -> std::string {
    try {
      decode(message, limits());
      return "(it is not)";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  };
  const auto refused = [](const std::string& reason) {
    return "step plan refused: " + reason + " (do all ranks run the same build?)";
  };
  auto other_layout = encode(example());
  EXPECT_EQ(other_layout[3], std::byte{'8'});
  other_layout[3] = std::byte{'4'};
  EXPECT_EQ(why(other_layout), refused("it does not begin like one"));
  EXPECT_EQ(why({}), refused("it is cut short"));
  StepPlan plan = example();
  plan.outputs[0].kind = static_cast<PlanOutput::Kind>(2);
  EXPECT_EQ(why(encode(plan)), refused("a kind is unknown"));
  plan = example();
  plan.rows[0].position = -1;
  EXPECT_EQ(why(encode(plan)), refused("negative position"));
}

// What a client reads, who knows nothing of ranks and builds.
TEST(StepPlan, RefusalOfARequestNamesTheFieldAlone) {
  Generate command{.prompts = {{1, 2, 3}}};
  EXPECT_EQ(refusal(command, limits()), std::nullopt);
  command.params.sampling.top_p = 0;
  EXPECT_EQ(refusal(command, limits()), "top_p out of range");
}

TEST(StepPlan, RandomDamageNeverGetsPastTheChecks) {
  const auto whole = encode(example());
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; ++round) {
    auto message = whole;
    message[random() % message.size()] = static_cast<std::byte>(random());
    try {
      const StepPlan plan = decode(message, limits());
      for (const auto& row : plan.rows) {
        ASSERT_GE(row.slot, 0);
        ASSERT_LT(row.slot, 4);
        ASSERT_GE(row.token, kernels::kLastChosen);
        ASSERT_LT(row.token, 100);
      }
      for (const auto& output : plan.outputs)
        ASSERT_LT(static_cast<std::size_t>(output.row), plan.rows.size());
    } catch (const std::runtime_error&) {
    }
  }
}

TEST(StepPlan, RefusesWhatIsOutOfBounds) {
  StepPlan plan = example();
  plan.rows[0].slot = 4;
  expect_refused(plan);
  plan = example();
  plan.rows[0].token = 100;
  expect_refused(plan);
  plan = example();
  plan.rows[0].token = -2;
  expect_refused(plan);
  plan = example();
  plan.rows[0].position = -1;
  expect_refused(plan);
  plan = example();
  plan.rows.resize(17, plan.rows[0]);
  expect_refused(plan);
  plan = example();
  plan.outputs[0].row = 3;
  expect_refused(plan);
  plan = example();
  plan.outputs[0].target = 100;
  expect_refused(plan);
  plan = example();
  plan.outputs[0].top_logprobs = 21;
  expect_refused(plan);
  plan = example();
  window_of(plan).sink_tokens = 9;
  expect_refused(plan);
  plan = example();
  window_of(plan).window_tokens = 0;
  expect_refused(plan);
  plan = example();
  window_of(plan).window_tokens = 65;
  expect_refused(plan);
  plan = example();
  sampling_of(plan).logit_bias[0].first = 100;
  expect_refused(plan);
  plan = example();
  sampling_of(plan).temperature = NAN;
  expect_refused(plan);
  plan = example();
  sampling_of(plan).top_p = 0;
  expect_refused(plan);
  for (const SlotOperation& operation :
       {SlotOperation{CopySlot{4, 0}}, SlotOperation{CopySlot{0, 4}}, SlotOperation{CopySlot{1, 1}},
        SlotOperation{SaveSlot{4, 0}}, SlotOperation{SaveSlot{0, 2}}, SlotOperation{SaveSlot{0, -1}},
        SlotOperation{LeaveSlot{-1}}, SlotOperation{RestoreSlot{0, 2}}, SlotOperation{RestoreSlot{4, 0}},
        SlotOperation{CopySaved{0, 0}}, SlotOperation{CopySaved{2, 0}}, SlotOperation{CopySaved{0, 2}},
        SlotOperation{DropSaved{2}}}) {
    plan = example();
    plan.operations[0] = operation;
    expect_refused(plan);
  }
  for (const std::int32_t last_n : {-2, 2, kMaxRepeatLastN + 1}) {
    plan = example();
    sampling_of(plan).repeat_last_n = last_n;
    expect_refused(plan);
  }
  plan = example();
  sampling_of(plan).earlier_output[1] = 100;
  expect_refused(plan);
}

}  // namespace
}  // namespace sinkstream
