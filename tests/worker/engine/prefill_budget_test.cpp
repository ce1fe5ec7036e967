// How many prompt tokens steps take in, on machines whose speed is known.
#include "worker/engine/prefill_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace sinkstream {
namespace {

// How long a step of so many rows takes.
using Machine = std::function<double(std::int64_t rows)>;

constexpr std::int64_t kChunk = 128;

double computes(std::int64_t rows) {
  return 0.001 + 0.002 * static_cast<double>(rows);
}
// Reading the weights takes as long as computing 40 rows.
double reads(std::int64_t rows) {
  return std::max(0.08, computes(rows));
}

// Steps that decode so many sessions and read prompts without end: how many prompt tokens each takes in.
std::vector<std::int64_t> run(PrefillBudget& budget, const Machine& machine, std::int64_t decode_rows,
                              int num_steps) {
  std::vector<std::int64_t> taken;
  for (int i = 0; i < num_steps; ++i) {
    taken.push_back(budget.tokens(decode_rows));
    budget.note(decode_rows, taken.back(), machine(decode_rows + taken.back()));
  }
  return taken;
}

// One that has read prompts by themselves.
PrefillBudget warm(const Machine& machine, double most_slowdown) {
  PrefillBudget budget(kChunk, most_slowdown);
  for (int i = 0; i < 10; ++i) budget.note(0, kChunk, machine(kChunk));
  return budget;
}

TEST(PrefillBudget, IsAWholeChunkWhereNobodyWaitsOrNothingIsKnown) {
  PrefillBudget budget(kChunk, 2);
  EXPECT_EQ(budget.tokens(0), kChunk);
  EXPECT_EQ(budget.tokens(5), kChunk);
  budget.note(0, kChunk, computes(kChunk));
  budget.note(5, 0, computes(5));
  EXPECT_EQ(budget.tokens(0), kChunk);
  EXPECT_LT(budget.tokens(5), kChunk);
}

TEST(PrefillBudget, WithoutALimitIsAlwaysAWholeChunk) {
  PrefillBudget budget = warm(computes, 0);
  for (const std::int64_t tokens : run(budget, computes, 3, 20)) EXPECT_EQ(tokens, kChunk);
}

TEST(PrefillBudget, MeasuresAStepWithoutPromptsFirst) {
  PrefillBudget budget = warm(computes, 2);
  const auto taken = run(budget, computes, 3, 3);
  EXPECT_EQ(taken[0], 0);
  EXPECT_GT(taken[1], 0);
  EXPECT_GT(taken[2], 0);
}

TEST(PrefillBudget, KeepsStepsWithinTheirLimit) {
  for (const Machine& machine : {Machine(computes), Machine(reads)}) {
    for (const double slowdown : {1.5, 2.0, 4.0}) {
      for (const std::int64_t decode_rows : {1, 2, 7, 16, 100}) {
        PrefillBudget budget = warm(machine, slowdown);
        const auto taken = run(budget, machine, decode_rows, 200);
        const double limit = slowdown * machine(decode_rows);
        double sum = 0;
        for (auto tokens = taken.end() - 100; tokens != taken.end(); ++tokens) {
          sum += machine(decode_rows + *tokens);
        }
        const bool takes_all = machine(decode_rows + kChunk) < limit;
        const double least =
            takes_all ? machine(decode_rows + kChunk) : limit - 0.004;  // not two tokens less
        EXPECT_LE(sum / 100, std::max(1.1 * limit, 1.001 * machine(decode_rows + 1)))
            << slowdown << ' ' << decode_rows;
        EXPECT_GE(sum / 100, 0.8 * least) << slowdown << ' ' << decode_rows;
      }
    }
  }
}

TEST(PrefillBudget, LetsEveryStepTakeInSomething) {
  const Machine slow_prompts = [](std::int64_t rows) {
    return rows == 1 ? 0.001 : 1.0 * static_cast<double>(rows);
  };
  PrefillBudget budget = warm(slow_prompts, 2);
  const auto taken = run(budget, slow_prompts, 1, 100);
  EXPECT_TRUE(std::all_of(taken.begin() + 1, taken.end(), [](std::int64_t tokens) { return tokens == 1; }));
}

// Steps without prompts may never come by themselves.
TEST(PrefillBudget, FollowsAMachineThatChanges) {
  PrefillBudget budget = warm(computes, 2);
  run(budget, computes, 8, 100);
  const Machine busy = [](std::int64_t rows) { return 3 * computes(rows); };
  run(budget, busy, 8, 2000);
  const auto taken = run(budget, busy, 8, 300);
  EXPECT_NEAR(static_cast<double>(taken[200]), 8.5, 1.5);  // computes(8 + 8.5) is 2 computes(8)
  EXPECT_LE(std::count(taken.begin(), taken.end(), 0), 2);
}

TEST(PrefillBudget, KnowsWhatAPromptTokenCosts) {
  PrefillBudget budget(kChunk, 2);
  EXPECT_FALSE(budget.seconds_per_prompt_token());
  budget.note(0, 1, reads(1));
  for (int i = 0; i < 30; ++i) {
    budget.note(0, 1, reads(1));  // which tell little of what one of many costs
    budget.note(0, kChunk, reads(kChunk));
    budget.note(4, 3, reads(7));
    budget.note(4, 0, reads(4));
  }
  EXPECT_NEAR(*budget.seconds_per_prompt_token(), reads(kChunk) / kChunk, 0.0005);
}

}  // namespace
}  // namespace sinkstream
