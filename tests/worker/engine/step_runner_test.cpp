// Plans that one rank applies to a tiny checkpoint.
#include "worker/engine/step_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "parallel/communicator/in_process.h"
#include "tests/kernels/awkward/awkward_backend.h"
#include "tests/paths.h"
#include "tests/worker/model/support/rank_group.h"
#include "worker/model/model.h"

namespace sinkstream {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class OneRank {
 public:
  explicit OneRank(const std::string& backend)
      : backend_(make_test_backend(backend, *group_[0])),
        model_(config_, shard_,
               load_weights(Checkpoint(kModel), config_, shard_, kernels::WeightFormat::f32, *backend_, {}),
               {.num_slots = 2, .num_places = 2, .sink_capacity = 4, .ring_capacity = 32}, 8, *backend_) {
    runner.emplace(model_,
                   PlanLimits{.num_slots = 2,
                              .num_places = 2,
                              .max_rows = 8,
                              .vocab_size = 256,
                              .session = {.window = {4, 28}, .sink_capacity = 4, .ring_capacity = 32}});
  }

  Communicator& group() { return *group_[0]; }
  kernels::AwkwardBackend& awkward() { return dynamic_cast<kernels::AwkwardBackend&>(*backend_); }

 private:
  const std::filesystem::path kModel = test_data_dir() / "models" / "llama-gqa";
  const ModelConfig config_ = read_model_config(kModel);
  const ShardPlan shard_ = make_shard_plan(config_.shard_sizes(), 1, 0);
  std::vector<std::unique_ptr<Communicator>> group_ = make_in_process_group(1);
  std::unique_ptr<kernels::Backend> backend_;
  Model model_;

 public:
  std::optional<StepRunner> runner;
};

const SlotOperation kOpen = OpenSlot{0, {4, 28}};
const SlotOperation kTurn = BeginTurn{0, {}};
const SlotOperation kClose = CloseSlot{0};

// A step that takes in one token and chooses the next.
StepPlan choosing_step(std::uint64_t number) {
  StepPlan plan;
  plan.number = number;
  if (number == 1) plan.operations = {kOpen, kTurn};
  plan.rows = {{0, number == 1 ? 9 : kernels::kLastChosen, static_cast<std::int64_t>(number) - 1}};
  plan.outputs = {{}};
  return plan;
}

TEST(StepRunner, PlansOutOfOrderAreRefused) {
  OneRank rank("cpu");
  StepPlan plan;
  plan.number = 2;
  EXPECT_THROW(rank.runner->run(plan), std::runtime_error) << "step 1 is missing";
  plan.number = 1;
  plan.operations = {kOpen};
  plan.rows = {{0, 9, 1}};
  EXPECT_THROW(rank.runner->run(plan), std::runtime_error) << "position 0 is missing";
  plan.number = 2;
  plan.operations.clear();
  plan.rows = {{0, kernels::kLastChosen, 0}};
  EXPECT_THROW(rank.runner->run(plan), std::runtime_error) << "nothing was sampled";
}

TEST(StepRunner, ASlotIsOpenedAndClosedInTurn) {
  OneRank rank("cpu");
  auto apply = [&, number = std::uint64_t{0}](const SlotOperation& operation) mutable {
    StepPlan plan;
    plan.number = ++number;
    plan.operations = {operation};
    rank.runner->run(plan);
  };
  apply(kOpen);
  EXPECT_THAT([&] { apply(kOpen); },
              ThrowsMessage<std::runtime_error>(HasSubstr("step 2: slot 0 is open already")));
  apply(kClose);
  EXPECT_THAT([&] { apply(kClose); },
              ThrowsMessage<std::runtime_error>(HasSubstr("step 4: slot 0 is not open")));
  apply(kOpen);
}

TEST(StepRunner, WhatWasTakenInIsNotLeftOut) {
  OneRank rank("cpu");
  rank.runner->run(choosing_step(1));
  StepPlan plan;
  plan.number = 2;
  plan.operations = {SkipSlot{0, 0}};
  EXPECT_THAT(
      [&] { rank.runner->run(plan); },
      ThrowsMessage<std::runtime_error>(HasSubstr("step 2: slot 0 has taken in what is to be left out")));
  plan.number = 3;
  plan.operations = {SkipSlot{0, 1'000'000'000'000}};
  plan.rows = {{0, 9, 1'000'000'000'000}};
  rank.runner->run(plan);
  plan.number = 4;
  plan.operations = {RollBackSlot{0, 1}};
  plan.rows.clear();
  EXPECT_THROW(rank.runner->run(plan), std::runtime_error) << "its window was never there";
}

TEST(StepRunner, APlaceIsFilledAndEmptiedInTurn) {
  OneRank rank("cpu");
  auto refusal = [&, number = std::uint64_t{0}](const SlotOperation& operation) mutable {
    StepPlan plan;
    plan.number = ++number;
    plan.operations = {operation};
    try {
      rank.runner->run(plan);
      return std::string();
    } catch (const std::runtime_error& error) {
      return std::string(error.what());
    }
  };
  EXPECT_THAT(refusal(SaveSlot{0, 0}), HasSubstr("step 1: slot 0 is not open"));
  EXPECT_EQ(refusal(kOpen), "");
  EXPECT_THAT(refusal(RestoreSlot{1, 0}), HasSubstr("step 3: nothing is parked in place 0"));
  EXPECT_THAT(refusal(DropSaved{0}), HasSubstr("step 4: nothing is parked in place 0"));
  EXPECT_THAT(refusal(CopySaved{1, 0}), HasSubstr("step 5: nothing is parked in place 0"));
  EXPECT_EQ(refusal(SaveSlot{0, 0}), "");
  EXPECT_THAT(refusal(SaveSlot{0, 0}), HasSubstr("step 7: a session is parked in place 0 already"));
  EXPECT_THAT(refusal(RestoreSlot{0, 0}), HasSubstr("step 8: slot 0 is open already"));
  EXPECT_EQ(refusal(LeaveSlot{0}), "");
  EXPECT_THAT(refusal(LeaveSlot{0}), HasSubstr("step 10: slot 0 is not open"));
  EXPECT_EQ(refusal(CopySaved{1, 0}), "");
  EXPECT_EQ(refusal(RestoreSlot{0, 0}), "");
  EXPECT_EQ(refusal(RestoreSlot{1, 1}), "");
  EXPECT_EQ(refusal(DropSaved{0}), "");
  EXPECT_EQ(refusal(DropSaved{1}), "");
}

TEST(StepRunner, WhoEndsItMidStepsHasNothingWrittenToAfterwards) {
  OneRank rank("awkward");
  rank.runner->launch(choosing_step(1));
  rank.runner->launch(choosing_step(2));
  ASSERT_EQ(rank.awkward().downloads_unwaited(), 2u);
  rank.runner.reset();
  EXPECT_EQ(rank.awkward().downloads_unwaited(), 0u);
}

TEST(StepRunner, AFailureIsToldWithItsStep) {
  OneRank rank("awkward");
  rank.runner->run(choosing_step(1));
  rank.group().abort("rank 7 is gone");
  rank.runner->launch(choosing_step(2));
  rank.runner->launch(choosing_step(3));
  EXPECT_THAT([&] { rank.runner->collect(); },
              ThrowsMessage<GroupEnded>(AllOf(HasSubstr("step 2: "), HasSubstr("rank 7 is gone"))));
  rank.runner.reset();  // with a step under way that has failed
}

}  // namespace
}  // namespace sinkstream
