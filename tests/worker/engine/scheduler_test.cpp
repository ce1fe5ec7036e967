#include "worker/engine/scheduler.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <numeric>
#include <sstream>

namespace sinkstream {
namespace {

struct Recorder final : GenerationListener {
  std::vector<TokenEvent> tokens;
  std::vector<FinishEvent> finishes;
  bool is_paused = false;
  void on_token(TokenEvent event) override { tokens.push_back(std::move(event)); }
  void on_finish(FinishEvent event) override { finishes.push_back(std::move(event)); }
  bool paused() const override { return is_paused; }
};

SchedulerLimits small_limits() {
  SchedulerLimits limits;
  limits.num_slots = 3;
  limits.prefill_chunk = 12;
  limits.session_chunk = 8;
  limits.session.window = {2, 10};
  limits.end_tokens = {1};
  return limits;
}

// Drives a scheduler with a made-up model: the token sampled at a position is 100 + position. As the engine
// does it, a step's outcome comes when `depth` are under way, or when there is no other to launch.
class Bench {
 public:
  explicit Bench(int depth, SchedulerLimits limits = small_limits())
      : scheduler(std::move(limits)), depth_(static_cast<std::size_t>(depth)) {}

  std::shared_ptr<Recorder> add(const std::string& id, std::int64_t prompt_tokens, std::int64_t max_tokens) {
    GenerationRequest request;
    request.id = id;
    std::vector<TokenId> prompt(static_cast<std::size_t>(prompt_tokens));
    std::iota(prompt.begin(), prompt.end(), 10);
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    return add(request);
  }
  std::shared_ptr<Recorder> add(const GenerationRequest& request) {
    auto recorder = std::make_shared<Recorder>();
    scheduler.add({request, recorder});
    return recorder;
  }

  // Launches steps until as many as may be are under way, then gives the oldest one's outcome. False: there
  // was none.
  bool step() {
    while (under_way_.size() < depth_) {
      auto plan = scheduler.next();
      if (!plan) break;
      plans.push_back(*plan);
      under_way_.push_back(*std::move(plan));
    }
    if (under_way_.empty()) return false;
    const StepPlan plan = std::move(under_way_.front());
    under_way_.pop_front();
    scheduler.commit(choices_of(plan));
    return true;
  }
  void run() {
    for (int i = 0; i < 10'000 && step(); ++i) {
    }
  }
  std::size_t steps_under_way() const { return under_way_.size(); }

  Scheduler scheduler;
  std::vector<StepPlan> plans;
  std::function<TokenId(std::int64_t)> sample = [](std::int64_t position) {
    return static_cast<TokenId>(100 + position);
  };

 private:
  std::vector<kernels::Choice> choices_of(const StepPlan& plan) const {
    std::vector<kernels::Choice> choices;
    for (const auto& output : plan.outputs) {
      const auto& row = plan.rows[static_cast<std::size_t>(output.row)];
      const bool score = output.kind == PlanOutput::Kind::score;
      choices.push_back({.token = score ? output.target : sample(row.position + 1), .logprob = -1});
    }
    return choices;
  }

  std::size_t depth_;
  std::deque<StepPlan> under_way_;  // oldest first
};

// The same is expected whether a step's outcome is known before the next is launched or after it.
class SchedulerAtDepth : public testing::TestWithParam<int> {
 protected:
  int depth() const { return GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Depths, SchedulerAtDepth, testing::Values(1, 2),
                         [](const auto& test) { return std::to_string(test.param); });

TEST_P(SchedulerAtDepth, APromptAndItsAnswer) {
  Bench bench(depth());
  const auto recorder = bench.add("a", 5, 4);
  bench.run();
  ASSERT_EQ(recorder->tokens.size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(recorder->tokens[static_cast<std::size_t>(i)].position, 5 + i);
    EXPECT_EQ(recorder->tokens[static_cast<std::size_t>(i)].token, 105 + i);
    EXPECT_FALSE(recorder->tokens[static_cast<std::size_t>(i)].logprob);
  }
  ASSERT_EQ(recorder->finishes.size(), 1u);
  EXPECT_EQ(recorder->finishes[0].reason, FinishReason::length);
  EXPECT_EQ(recorder->finishes[0].usage, (SessionUsage{8, 2, 8, 0}));
  EXPECT_EQ(bench.scheduler.running(), 0);
  EXPECT_FALSE(bench.scheduler.next());
}

TEST_P(SchedulerAtDepth, EveryPositionIsTakenInOnceAndInOrder) {
  Bench bench(depth());
  for (int i = 0; i < 7; ++i) bench.add("r" + std::to_string(i), 1 + 9 * i, 1 + i);
  bench.run();
  std::map<std::int32_t, std::int64_t> next;
  for (const auto& plan : bench.plans) {
    std::map<std::int32_t, std::int64_t> rows_of;
    for (const auto& operation : plan.operations) next[operation.slot] = 0;
    std::int32_t previous_slot = -1;
    for (const auto& row : plan.rows) {
      if (row.slot != previous_slot) {
        EXPECT_EQ(rows_of[row.slot], 0) << "rows of a slot must stand together";
      }
      previous_slot = row.slot;
      ++rows_of[row.slot];
      EXPECT_EQ(row.position, next[row.slot]++);
    }
    for (const auto& [slot, rows] : rows_of) EXPECT_LE(rows, 8) << slot;
    EXPECT_LE(plan.rows.size(), 3u + 12u);
  }
}

TEST_P(SchedulerAtDepth, AShortPromptDoesNotWaitForALongOne) {
  Bench bench(depth());
  bench.add("long", 100'000, 1);
  bench.step();
  const auto quick = bench.add("short", 4, 2);
  for (int i = 0; i < 3; ++i) bench.step();
  EXPECT_EQ(quick->tokens.size(), 2u);
}

TEST_P(SchedulerAtDepth, DecodingGoesOnDuringAPrefill) {
  Bench bench(depth());
  const auto talking = bench.add("talking", 1, 50);
  bench.step();
  bench.add("long", 10'000, 1);
  for (int i = 0; i < 10; ++i) bench.step();
  EXPECT_EQ(talking->tokens.size(), 11u);
}

TEST_P(SchedulerAtDepth, SessionsWaitForASlotInOrder) {
  Bench bench(depth());
  std::vector<std::shared_ptr<Recorder>> all;
  for (int i = 0; i < 6; ++i) all.push_back(bench.add("r" + std::to_string(i), 2, 3));
  bench.step();
  EXPECT_EQ(bench.scheduler.running(), 3);
  EXPECT_EQ(bench.scheduler.waiting(), 3);
  bench.run();
  for (const auto& recorder : all) {
    ASSERT_EQ(recorder->finishes.size(), 1u);
    EXPECT_EQ(recorder->tokens.size(), 3u);
  }
}

TEST_P(SchedulerAtDepth, EndTokensEndAndAreNotReported) {
  Bench bench(depth());
  bench.sample = [](std::int64_t position) { return position == 7 ? 1 : 50; };
  const auto plain = bench.add("plain", 5, 20);
  GenerationRequest request{.id = "goes on", .prompt = {5, 6, 7}, .max_tokens = 9, .ignore_eos = true};
  const auto endless = bench.add(request);
  request = {.id = "own stop", .prompt = {5, 6, 7}, .max_tokens = 9, .stop_token_ids = {50}};
  const auto own = bench.add(request);
  bench.run();
  EXPECT_EQ(plain->tokens.size(), 2u);
  EXPECT_EQ(plain->finishes.at(0).reason, FinishReason::stop);
  EXPECT_EQ(endless->tokens.size(), 9u);
  EXPECT_EQ(endless->finishes.at(0).reason, FinishReason::length);
  EXPECT_EQ(own->tokens.size(), 0u);
  EXPECT_EQ(own->finishes.at(0).reason, FinishReason::stop);
}

TEST_P(SchedulerAtDepth, TimesOfSessionsAreCounted) {
  const auto count = [](const DurationHistogram& histogram) {
    return std::accumulate(histogram.counts.begin(), histogram.counts.end(), std::int64_t{0});
  };
  Bench bench(depth());
  GenerationRequest score{.id = "score", .prompt = {5, 6}, .max_tokens = 0};
  bench.add(score);
  for (int i = 0; i < 4; ++i) bench.add("r" + std::to_string(i), 5, 3);
  const auto recorder = std::make_shared<Recorder>();
  bench.scheduler.add({{.id = "late", .prompt = {5}, .max_tokens = 2},
                       recorder,
                       std::chrono::steady_clock::now() - std::chrono::seconds(20)});
  bench.run();
  EngineStats stats;
  bench.scheduler.add_counts(stats);
  EXPECT_EQ(count(stats.queueing), 6);
  EXPECT_EQ(count(stats.prefill), 6);
  EXPECT_EQ(count(stats.decode), 5);  // nothing is generated when a prompt is only scored
  EXPECT_GE(stats.queueing.sum, 20);
  EXPECT_LT(stats.queueing.sum, 60);
  EXPECT_EQ(stats.queueing.counts.at(13), 1);  // up to 60 s
}

TEST(DurationHistogram, BoundsBelongToTheirBuckets) {
  DurationHistogram histogram;
  for (const double seconds : {0.0, 0.001, 0.0011, 7200.0, 1e9}) histogram.add(seconds);
  EXPECT_EQ(histogram.counts.front(), 2);
  EXPECT_EQ(histogram.counts.at(1), 1);
  EXPECT_EQ(histogram.counts.at(16), 1);
  EXPECT_EQ(histogram.counts.back(), 1);
}

TEST_P(SchedulerAtDepth, PromptsAreScoredWithoutGenerating) {
  Bench bench(depth());
  std::vector<TokenId> prompt(30);
  std::iota(prompt.begin(), prompt.end(), 10);
  const GenerationRequest request{.id = "score", .prompt = prompt, .max_tokens = 0, .prompt_logprobs = true};
  const auto recorder = bench.add(request);
  bench.run();
  ASSERT_EQ(recorder->tokens.size(), 30u);
  EXPECT_FALSE(recorder->tokens[0].logprob);
  for (std::size_t i = 0; i < 30; ++i) {
    EXPECT_EQ(recorder->tokens[i].token, request.prompt[i]);
    EXPECT_EQ(recorder->tokens[i].position, static_cast<std::int64_t>(i));
    EXPECT_TRUE(recorder->tokens[i].from_prompt);
    if (i > 0) {
      EXPECT_TRUE(recorder->tokens[i].logprob);
    }
  }
  ASSERT_EQ(recorder->finishes.size(), 1u);
  EXPECT_EQ(recorder->finishes[0].usage, (SessionUsage{30, 2, 12, 18}));
}

TEST_P(SchedulerAtDepth, DenseSessionsEndAtTheirContext) {
  SchedulerLimits limits = small_limits();
  limits.session.max_context = 16;
  limits.session.window = {0, 16};
  Bench bench(depth(), limits);
  const auto recorder = bench.add("a", 10, 1000);
  bench.run();
  // Positions 10 to 15 are taken in and one more is chosen.
  EXPECT_EQ(recorder->tokens.size(), 7u);
  EXPECT_EQ(recorder->finishes.at(0).reason, FinishReason::length);
  EXPECT_EQ(recorder->finishes.at(0).usage, (SessionUsage{16, 0, 16, 0}));
}

TEST_P(SchedulerAtDepth, CancelEndsWaitingAndRunning) {
  Bench bench(depth());
  std::vector<std::shared_ptr<Recorder>> all;
  for (int i = 0; i < 5; ++i) all.push_back(bench.add("r" + std::to_string(i), 2, 100));
  bench.step();
  EXPECT_EQ(bench.steps_under_way(), static_cast<std::size_t>(depth() - 1));
  EXPECT_TRUE(bench.scheduler.cancel("r4", FinishReason::cancelled));
  EXPECT_TRUE(bench.scheduler.cancel("r0", FinishReason::cancelled));
  EXPECT_FALSE(bench.scheduler.cancel("r0", FinishReason::cancelled));
  EXPECT_EQ(all[0]->finishes.at(0).reason, FinishReason::cancelled);
  EXPECT_EQ(all[4]->finishes.size(), 1u);
  for (int i = 0; i < depth(); ++i) bench.step();
  EXPECT_EQ(all[3]->tokens.size(), 1u) << "the freed slot is taken in the next step that is launched";
  EXPECT_EQ(all[3]->tokens[0].position, 2);
  bench.scheduler.cancel_all(FinishReason::ending, "over");
  for (const auto& recorder : all) EXPECT_EQ(recorder->finishes.size(), 1u);
  EXPECT_EQ(all[3]->finishes[0].message, "over");
  EXPECT_EQ(bench.scheduler.free_slots(), 3);
  const std::size_t before = all[1]->tokens.size();
  bench.run();  // also what was under way
  EXPECT_EQ(all[0]->tokens.size(), 1u) << "nothing reaches it after its end";
  EXPECT_EQ(all[1]->tokens.size(), before);
  for (const auto& recorder : all) EXPECT_EQ(recorder->finishes.size(), 1u);
}

TEST_P(SchedulerAtDepth, APausedReaderSitsOut) {
  Bench bench(depth());
  const auto slow = bench.add("slow", 2, 10);
  const auto quick = bench.add("quick", 2, 10);
  bench.step();
  slow->is_paused = true;
  for (int i = 0; i < 4; ++i) bench.step();
  EXPECT_EQ(slow->tokens.size(), static_cast<std::size_t>(depth())) << "what was under way still comes";
  EXPECT_EQ(quick->tokens.size(), 5u);
  EXPECT_FALSE(bench.scheduler.all_paused());
  quick->is_paused = true;
  EXPECT_TRUE(bench.scheduler.all_paused());
  EXPECT_FALSE(bench.scheduler.next());
  slow->is_paused = quick->is_paused = false;
  bench.run();
  for (const auto& recorder : {slow, quick}) {
    ASSERT_EQ(recorder->tokens.size(), 10u);
    for (int i = 0; i < 10; ++i) EXPECT_EQ(recorder->tokens[static_cast<std::size_t>(i)].position, 2 + i);
  }
}

TEST_P(SchedulerAtDepth, LogitsThatAreNotFiniteFailThatSessionOnly) {
  Bench bench(depth());
  bench.sample = [](std::int64_t position) { return position == 3 ? -1 : 50; };
  const auto broken = bench.add("broken", 3, 10);
  const auto well = bench.add("well", 4, 10);
  bench.run();
  EXPECT_EQ(broken->finishes.at(0).reason, FinishReason::failed);
  EXPECT_NE(broken->finishes[0].message.find("not finite"), std::string::npos);
  EXPECT_EQ(broken->finishes.size(), 1u);
  EXPECT_TRUE(broken->tokens.empty());
  EXPECT_EQ(well->tokens.size(), 10u);
}

TEST_P(SchedulerAtDepth, TheTokenThatEndsAnAnswerIsSaid) {
  Bench bench(depth());
  bench.sample = [](std::int64_t position) { return position == 5 ? 1 : position == 7 ? 77 : 50; };
  const auto by_model = bench.add("a", 4, 10);
  GenerationRequest request;
  request.id = "b";
  request.prompt = std::vector<TokenId>{1, 2, 3, 4, 5, 6};
  request.max_tokens = 10;
  request.stop_token_ids = {76, 77};
  const auto by_client = bench.add(request);
  const auto by_length = bench.add("c", 8, 2);
  bench.run();
  EXPECT_EQ(by_model->finishes.at(0).stop_token, 1);
  EXPECT_EQ(by_client->finishes.at(0).stop_token, 77);
  EXPECT_EQ(by_length->finishes.at(0).stop_token, std::nullopt);
}

TEST_P(SchedulerAtDepth, WhatWouldEndTheAnswerGoesToTheSlotThatAsksForIt) {
  Bench bench(depth());
  GenerationRequest request;
  request.id = "a";
  request.prompt = std::vector<TokenId>{1, 2};
  request.max_tokens = 3;
  request.stop_token_ids = {76, 77};
  bench.add(request);
  request.id = "b";
  request.sampling.min_tokens = 2;
  bench.add(request);
  request.id = "c";
  request.sampling.min_tokens = 0;
  request.sampling.repeat_last_n = 64;
  bench.add(request);
  bench.step();
  const auto& operations = bench.plans.at(0).operations;
  EXPECT_TRUE(operations.at(0).sampling.end_tokens.empty());
  EXPECT_EQ(operations.at(1).sampling.min_tokens, 2);
  EXPECT_EQ(operations.at(1).sampling.end_tokens, (std::vector<TokenId>{1, 76, 77}));
  EXPECT_EQ(operations.at(2).sampling.end_tokens, (std::vector<TokenId>{1, 76, 77}));
}

TEST_P(SchedulerAtDepth, PromptTokensHaveAlternativesOfTheirOwnNumber) {
  Bench bench(depth());
  GenerationRequest request;
  request.id = "a";
  request.prompt = std::vector<TokenId>{1, 2, 3};
  request.max_tokens = 2;
  request.logprobs = request.prompt_logprobs = true;
  request.top_logprobs = 1;
  request.top_prompt_logprobs = 4;
  bench.add(request);
  bench.run();
  std::vector<std::int32_t> tops;
  for (const auto& plan : bench.plans) {
    for (const auto& output : plan.outputs) tops.push_back(output.top_logprobs);
  }
  EXPECT_EQ(tops, (std::vector<std::int32_t>{4, 4, 1, 1}));
}

TEST_P(SchedulerAtDepth, CountsAddUp) {
  Bench bench(depth());
  bench.add("a", 20, 5);
  bench.add("b", 3, 5);
  bench.run();
  EngineStats stats;
  bench.scheduler.add_counts(stats);
  EXPECT_EQ(stats.prompt_tokens, 23);
  EXPECT_EQ(stats.generated_tokens, 10);
  EXPECT_EQ(stats.evicted_tokens, 24 - 12);
  EXPECT_EQ(stats.resident_tokens, 0);
}

// All that sessions are told, in order.
std::vector<std::string> events_at(int depth) {
  SchedulerLimits limits = small_limits();
  limits.session.max_context = 40;
  limits.session.window = {0, 40};
  Bench bench(depth, limits);
  bench.sample = [](std::int64_t position) {
    return position == 9 ? 1 : position == 17 ? -1 : static_cast<TokenId>(100 + position);
  };
  std::vector<std::shared_ptr<Recorder>> all;
  for (int i = 0; i < 24; ++i) {
    std::vector<TokenId> prompt(static_cast<std::size_t>(1 + 7 * i % 37));
    std::iota(prompt.begin(), prompt.end(), 10);
    GenerationRequest request{
        .id = std::to_string(i), .prompt = std::move(prompt), .max_tokens = i % 5 == 0 ? 0 : 1 + i};
    request.prompt_logprobs = i % 5 == 0 || i % 3 == 0;
    request.ignore_eos = i % 4 == 0;
    if (i % 7 == 0) request.stop_token_ids = {112};
    all.push_back(bench.add(request));
  }
  bench.run();
  std::vector<std::string> events;
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::ostringstream told;
    for (const auto& token : all[i]->tokens) {
      told << token.position << ':' << token.token << (token.from_prompt ? "p " : " ");
    }
    for (const auto& finish : all[i]->finishes) {
      told << static_cast<int>(finish.reason) << ' ' << finish.usage.seen_tokens << ' '
           << finish.stop_token.value_or(-1) << ' ' << finish.message;
    }
    events.push_back(told.str());
  }
  return events;
}

TEST(Scheduler, SessionsAreToldTheSameAtEveryDepth) {
  const auto expected = events_at(1);
  EXPECT_EQ(events_at(2), expected);
  EXPECT_EQ(events_at(3), expected);
}

// Two steps under way: the first session ends by a stop token in the first, the second holds a surplus row of
// it, and by the time that its outcome comes the slot is another session's.
TEST(Scheduler, ASurplusTokenReachesNobody) {
  SchedulerLimits limits = small_limits();
  limits.num_slots = 1;
  Bench bench(2, limits);
  const auto first = bench.add("first", 3, 10);
  const auto second = bench.add("second", 2, 2);
  const auto choose = [](std::initializer_list<TokenId> tokens) {
    std::vector<kernels::Choice> choices;
    for (const TokenId token : tokens) choices.push_back({.token = token, .logprob = -1});
    return choices;
  };
  auto& scheduler = bench.scheduler;
  ASSERT_TRUE(scheduler.next());          // the first's prompt
  const auto surplus = scheduler.next();  // its next token, not known yet
  ASSERT_TRUE(surplus);
  ASSERT_EQ(surplus->rows.size(), 1u);
  EXPECT_EQ(surplus->rows[0].token, kernels::kLastChosen);
  scheduler.commit(choose({1}));  // an end token
  ASSERT_EQ(first->finishes.size(), 1u);
  EXPECT_EQ(first->finishes[0].reason, FinishReason::stop);
  EXPECT_EQ(first->finishes[0].usage.seen_tokens, 3) << "the surplus row does not count";

  const auto prompt = scheduler.next();  // the slot changes hands
  ASSERT_TRUE(prompt);
  ASSERT_EQ(prompt->operations.size(), 2u);
  scheduler.commit(choose({77}));  // of the surplus row
  EXPECT_TRUE(first->tokens.empty());
  EXPECT_TRUE(second->tokens.empty());
  ASSERT_TRUE(scheduler.next());
  EXPECT_FALSE(scheduler.next()) << "its last token is being chosen";
  scheduler.commit(choose({21}));
  scheduler.commit(choose({22}));
  ASSERT_EQ(second->tokens.size(), 2u);
  EXPECT_EQ(second->tokens[0].token, 21);
  EXPECT_EQ(second->tokens[1].token, 22);
  EXPECT_EQ(second->finishes.at(0).reason, FinishReason::length);
  EXPECT_EQ(second->finishes.at(0).usage.seen_tokens, 3);
}

}  // namespace
}  // namespace sinkstream
