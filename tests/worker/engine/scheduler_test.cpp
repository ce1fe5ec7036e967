#include "worker/engine/scheduler.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <numeric>
#include <sstream>

#include "tests/worker/engine/modelled_engine.h"

namespace sinkstream {
namespace {

// Drives a scheduler with a made-up model: the token sampled at a position is 100 + position. As the engine
// does it, a step's outcome comes when `depth` are under way, or when there is no other to launch.
class Bench {
 public:
  explicit Bench(int depth, SchedulerLimits limits = small_limits(3))
      : scheduler(std::move(limits), [this](Event event) { ledger.on_event(std::move(event)); }),
        depth_(static_cast<std::size_t>(depth)) {}

  const Told& add(std::int64_t prompt_tokens, std::int64_t max_tokens) {
    return add(one_turn(counting_tokens(prompt_tokens), max_tokens));
  }
  const Told& add(Generate command, std::chrono::seconds waited = {}) {
    command.request = next_request++;
    const RequestId request = command.request;
    scheduler.take(std::move(command), std::chrono::steady_clock::now() - waited);
    return ledger.of(request);
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
    if (seconds) scheduler.note_seconds(seconds(plan));
    scheduler.commit(choices_of(plan));
    return true;
  }
  void run() {
    for (int i = 0; i < 10'000 && step(); ++i) {
    }
  }
  std::size_t steps_under_way() const { return under_way_.size(); }

  std::int32_t running() const {
    EngineStats stats;
    scheduler.add_counts(stats);
    return static_cast<std::int32_t>(stats.running);
  }

  Ledger ledger;
  Scheduler scheduler;
  RequestId next_request = 1;
  std::vector<StepPlan> plans;
  std::function<TokenId(std::int64_t)> sample = [](std::int64_t position) {
    return static_cast<TokenId>(100 + position);
  };
  std::function<double(const StepPlan&)> seconds;  // that it takes; empty: nobody looks at the clock

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
  const Told& recorder = bench.add(5, 4);
  bench.run();
  ASSERT_EQ(recorder.events.size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(recorder.events[static_cast<std::size_t>(i)].position, 5 + i);
    EXPECT_EQ(recorder.events[static_cast<std::size_t>(i)].token, 105 + i);
    EXPECT_FALSE(recorder.events[static_cast<std::size_t>(i)].logprob);
  }
  ASSERT_EQ(recorder.ends.size(), 1u);
  EXPECT_EQ(recorder.ends[0].reason, FinishReason::length);
  EXPECT_EQ(recorder.ends[0].usage, (SessionUsage{8, 2, 8, 0}));
  EXPECT_EQ(bench.running(), 0);
  EXPECT_FALSE(bench.scheduler.next());
}

TEST_P(SchedulerAtDepth, EveryPositionIsTakenInOnceAndInOrder) {
  Bench bench(depth());
  for (int i = 0; i < 7; ++i) bench.add(1 + 9 * i, 1 + i);
  bench.run();
  std::map<std::int32_t, std::int64_t> next;
  for (const auto& plan : bench.plans) {
    std::map<std::int32_t, std::int64_t> rows_of;
    for (const auto& operation : plan.operations) next[changed_by(operation)->index] = 0;
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
  bench.add(100'000, 1);
  bench.step();
  const Told& quick = bench.add(4, 2);
  for (int i = 0; i < 3; ++i) bench.step();
  EXPECT_EQ(quick.events.size(), 2u);
}

TEST_P(SchedulerAtDepth, DecodingGoesOnDuringAPrefill) {
  Bench bench(depth());
  const Told& talking = bench.add(1, 50);
  bench.step();
  bench.add(10'000, 1);
  for (int i = 0; i < 10; ++i) bench.step();
  EXPECT_EQ(talking.events.size(), 11u);
}

// A row takes a second, a step without prompts one: twice that has room for one prompt token.
TEST_P(SchedulerAtDepth, PromptsSlowDecodingDownNoFurtherThanTheyMay) {
  SchedulerLimits limits = small_limits(3);
  limits.prefill_slowdown = 2;
  Bench bench(depth(), limits);
  bench.seconds = [](const StepPlan& plan) { return static_cast<double>(plan.rows.size()); };
  const auto rows = [&bench] { return bench.plans.back().rows.size(); };
  const Told& read = bench.add(50, 1);
  bench.step();
  EXPECT_EQ(rows(), 8u) << "nobody waits";
  while (read.ends.empty()) bench.step();
  bench.add(1, 1000);
  for (int i = 0; i < 5; ++i) bench.step();
  bench.add(1000, 1);
  for (int i = 0; i < 5; ++i) bench.step();
  for (int i = 0; i < 10; ++i) {
    bench.step();
    EXPECT_EQ(rows(), 2u);
  }
}

TEST_P(SchedulerAtDepth, SessionsWaitForASlotInOrder) {
  Bench bench(depth());
  std::vector<const Told*> all;
  for (int i = 0; i < 6; ++i) all.push_back(&bench.add(2, 3));
  bench.step();
  EXPECT_EQ(bench.running(), 3);
  EXPECT_EQ(bench.scheduler.waiting(), 3);
  bench.run();
  for (const Told* told : all) {
    ASSERT_EQ(told->ends.size(), 1u);
    EXPECT_EQ(told->events.size(), 3u);
  }
}

TEST_P(SchedulerAtDepth, EndTokensEndAndAreNotReported) {
  Bench bench(depth());
  bench.sample = [](std::int64_t position) { return position == 7 ? 1 : 50; };
  const Told& plain = bench.add(5, 20);
  Generate request = one_turn({5, 6, 7}, 9);
  request.params.ignore_eos = true;
  const Told& endless = bench.add(request);
  request.params.ignore_eos = false;
  request.params.stop_token_ids = {50};
  const Told& own = bench.add(request);
  bench.run();
  EXPECT_EQ(plain.events.size(), 2u);
  EXPECT_EQ(plain.ends.at(0).reason, FinishReason::stop);
  EXPECT_EQ(endless.events.size(), 9u);
  EXPECT_EQ(endless.ends.at(0).reason, FinishReason::length);
  EXPECT_EQ(own.events.size(), 0u);
  EXPECT_EQ(own.ends.at(0).reason, FinishReason::stop);
}

TEST_P(SchedulerAtDepth, TimesOfSessionsAreCounted) {
  const auto count = [](const DurationHistogram& histogram) {
    return std::accumulate(histogram.counts.begin(), histogram.counts.end(), std::int64_t{0});
  };
  Bench bench(depth());
  bench.add(one_turn({5, 6}, 0));
  for (int i = 0; i < 4; ++i) bench.add(5, 3);
  bench.add(one_turn({5}, 2), std::chrono::seconds(20));
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
  Generate request = one_turn(prompt, 0);
  request.params.prompt_logprobs = true;
  const Told& recorder = bench.add(request);
  bench.run();
  ASSERT_EQ(recorder.events.size(), 30u);
  EXPECT_FALSE(recorder.events[0].logprob);
  for (std::size_t i = 0; i < 30; ++i) {
    EXPECT_EQ(recorder.events[i].token, prompt[i]);
    EXPECT_EQ(recorder.events[i].position, static_cast<std::int64_t>(i));
    EXPECT_TRUE(recorder.events[i].from_prompt);
    if (i > 0) {
      EXPECT_TRUE(recorder.events[i].logprob);
    }
  }
  ASSERT_EQ(recorder.ends.size(), 1u);
  EXPECT_EQ(recorder.ends[0].usage, (SessionUsage{30, 2, 12, 18}));
}

TEST_P(SchedulerAtDepth, DenseSessionsEndAtTheirContext) {
  SchedulerLimits limits = small_limits(3);
  limits.session.max_context = 16;
  limits.session.window = {0, 16};
  Bench bench(depth(), limits);
  const Told& recorder = bench.add(10, 1000);
  bench.run();
  // Positions 10 to 15 are taken in and one more is chosen.
  EXPECT_EQ(recorder.events.size(), 7u);
  EXPECT_EQ(recorder.ends.at(0).reason, FinishReason::length);
  EXPECT_EQ(recorder.ends.at(0).usage, (SessionUsage{16, 0, 16, 0}));
}

TEST_P(SchedulerAtDepth, CancelEndsWaitingAndRunning) {
  Bench bench(depth());
  std::vector<const Told*> all;
  for (int i = 0; i < 5; ++i) all.push_back(&bench.add(2, 100));
  bench.step();
  EXPECT_EQ(bench.steps_under_way(), static_cast<std::size_t>(depth() - 1));
  bench.scheduler.take(Cancel{all[4]->request});
  bench.scheduler.take(Cancel{all[0]->request});
  bench.scheduler.take(Cancel{all[0]->request});
  EXPECT_EQ(all[0]->ends.at(0).reason, FinishReason::cancelled);
  EXPECT_EQ(all[4]->ends.size(), 1u);
  for (int i = 0; i < depth(); ++i) bench.step();
  EXPECT_EQ(all[3]->events.size(), 1u) << "the freed slot is taken in the next step that is launched";
  EXPECT_EQ(all[3]->events[0].position, 2);
  bench.scheduler.end_all(FinishReason::ending, "over");
  for (const Told* told : all) EXPECT_EQ(told->ends.size(), 1u);
  EXPECT_EQ(all[3]->ends[0].message, "over");
  EXPECT_EQ(bench.scheduler.free_slots(), 3);
  const std::size_t before = all[1]->events.size();
  bench.run();  // also what was under way
  EXPECT_EQ(all[0]->events.size(), 1u) << "nothing reaches it after its end";
  EXPECT_EQ(all[1]->events.size(), before);
  for (const Told* told : all) EXPECT_EQ(told->ends.size(), 1u);
}

TEST_P(SchedulerAtDepth, AChoiceSendsNoMoreThanItIsGranted) {
  Bench bench(depth());
  Generate request = one_turn({5, 6}, 10);
  request.credit = 3;
  const Told& slow = bench.add(request);
  const Told& quick = bench.add(2, 10);
  for (int i = 0; i < 8; ++i) bench.step();
  EXPECT_EQ(slow.events.size(), 3u);
  EXPECT_EQ(quick.events.size(), 8u);
  bench.run();
  EXPECT_EQ(slow.events.size(), 3u);
  EXPECT_EQ(quick.events.size(), 10u);
  EXPECT_FALSE(bench.scheduler.next()) << "nothing to do before it is granted more";
  bench.scheduler.take(Grant{slow.request, 0, 5});
  bench.scheduler.take(Grant{slow.request, 0, 4});
  bench.scheduler.take(Grant{slow.request, 1, 9});
  bench.scheduler.take(Grant{slow.request, -1, 9});
  bench.run();
  EXPECT_EQ(slow.events.size(), 5u) << "a smaller number, or another choice's, changes nothing";
  bench.scheduler.take(Grant{slow.request, 0, 100});
  bench.run();
  for (const Told* told : {&slow, &quick}) {
    ASSERT_EQ(told->events.size(), 10u);
    for (int i = 0; i < 10; ++i) EXPECT_EQ(told->events[static_cast<std::size_t>(i)].position, 2 + i);
  }
}

TEST_P(SchedulerAtDepth, AScoredPromptIsGrantedTokenByToken) {
  for (const std::int64_t credit : {1, 2, 5, 9}) {
    Bench bench(depth());
    Generate request = one_turn({5, 6, 7, 8, 9, 10, 11, 12, 13, 14}, 4);
    request.params.prompt_logprobs = true;
    request.credit = credit;
    const Told& told = bench.add(request);
    for (std::int64_t granted = credit; granted <= 16; granted += credit) {
      bench.scheduler.take(Grant{told.request, 0, granted});
      bench.run();
      EXPECT_LE(std::ssize(told.events), granted);
      EXPECT_GE(std::ssize(told.events), std::min<std::int64_t>(14, granted - (granted == 1)));
    }
    bench.scheduler.take(Grant{told.request, 0, 16});
    bench.run();
    EXPECT_EQ(told.events.size(), 14u);
    EXPECT_EQ(told.ends.size(), 1u);
  }
}

TEST_P(SchedulerAtDepth, LogitsThatAreNotFiniteFailThatSessionOnly) {
  Bench bench(depth());
  bench.sample = [](std::int64_t position) { return position == 3 ? -1 : 50; };
  const Told& broken = bench.add(3, 10);
  const Told& well = bench.add(4, 10);
  bench.run();
  EXPECT_EQ(broken.ends.at(0).reason, FinishReason::failed);
  EXPECT_NE(broken.ends[0].message.find("not finite"), std::string::npos);
  EXPECT_EQ(broken.ends.size(), 1u);
  EXPECT_TRUE(broken.events.empty());
  EXPECT_EQ(well.events.size(), 10u);
}

TEST_P(SchedulerAtDepth, TheTokenThatEndsAnAnswerIsSaid) {
  Bench bench(depth());
  bench.sample = [](std::int64_t position) { return position == 5 ? 1 : position == 7 ? 77 : 50; };
  const Told& by_model = bench.add(4, 10);
  Generate request = one_turn({1, 2, 3, 4, 5, 6}, 10);
  request.params.stop_token_ids = {76, 77};
  const Told& by_client = bench.add(request);
  const Told& by_length = bench.add(8, 2);
  bench.run();
  EXPECT_EQ(by_model.ends.at(0).stop_token, 1);
  EXPECT_EQ(by_client.ends.at(0).stop_token, 77);
  EXPECT_EQ(by_length.ends.at(0).stop_token, std::nullopt);
}

TEST_P(SchedulerAtDepth, WhatWouldEndTheAnswerGoesToTheSlotThatAsksForIt) {
  Bench bench(depth());
  Generate request = one_turn({1, 2}, 3);
  request.params.stop_token_ids = {76, 77};
  bench.add(request);
  request.params.sampling.min_tokens = 2;
  bench.add(request);
  request.params.sampling.min_tokens = 0;
  request.params.sampling.repeat_last_n = 64;
  bench.add(request);
  bench.step();
  std::vector<SamplingParams> samplings;
  for (const SlotOperation& operation : bench.plans.at(0).operations) {
    if (const auto* turn = std::get_if<BeginTurn>(&operation)) samplings.push_back(turn->sampling);
  }
  EXPECT_TRUE(samplings.at(0).end_tokens.empty());
  EXPECT_EQ(samplings.at(1).min_tokens, 2);
  EXPECT_EQ(samplings.at(1).end_tokens, (std::vector<TokenId>{1, 76, 77}));
  EXPECT_EQ(samplings.at(2).end_tokens, (std::vector<TokenId>{1, 76, 77}));
}

TEST_P(SchedulerAtDepth, PromptTokensHaveAlternativesOfTheirOwnNumber) {
  Bench bench(depth());
  Generate request = one_turn({1, 2, 3}, 2);
  request.params.logprobs = request.params.prompt_logprobs = true;
  request.params.top_logprobs = 1;
  request.params.top_prompt_logprobs = 4;
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
  bench.add(20, 5);
  bench.add(3, 5);
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
  SchedulerLimits limits = small_limits(3);
  limits.session.max_context = 40;
  limits.session.window = {0, 40};
  Bench bench(depth, limits);
  bench.sample = [](std::int64_t position) {
    return position == 9 ? 1 : position == 17 ? -1 : static_cast<TokenId>(100 + position);
  };
  std::vector<const Told*> all;
  for (int i = 0; i < 24; ++i) {
    std::vector<TokenId> prompt(static_cast<std::size_t>(1 + 7 * i % 37));
    std::iota(prompt.begin(), prompt.end(), 10);
    Generate request = one_turn(std::move(prompt), i % 5 == 0 ? 0 : 1 + i);
    request.params.prompt_logprobs = i % 5 == 0 || i % 3 == 0;
    request.params.ignore_eos = i % 4 == 0;
    if (i % 7 == 0) request.params.stop_token_ids = {112};
    all.push_back(&bench.add(request));
  }
  bench.run();
  std::vector<std::string> events;
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::ostringstream told;
    for (const auto& token : all[i]->events) {
      told << token.position << ':' << token.token << (token.from_prompt ? "p " : " ");
    }
    for (const auto& finish : all[i]->ends) {
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
  SchedulerLimits limits = small_limits(3);
  limits.num_slots = 1;
  Bench bench(2, limits);
  const Told& first = bench.add(3, 10);
  const Told& second = bench.add(2, 2);
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
  ASSERT_EQ(first.ends.size(), 1u);
  EXPECT_EQ(first.ends[0].reason, FinishReason::stop);
  EXPECT_EQ(first.ends[0].usage.seen_tokens, 3) << "the surplus row does not count";

  const auto prompt = scheduler.next();  // the slot changes hands
  ASSERT_TRUE(prompt);
  ASSERT_EQ(prompt->operations.size(), 3u) << "close, open, begin a turn";
  scheduler.commit(choose({77}));  // of the surplus row
  EXPECT_TRUE(first.events.empty());
  EXPECT_TRUE(second.events.empty());
  ASSERT_TRUE(scheduler.next());
  EXPECT_FALSE(scheduler.next()) << "its last token is being chosen";
  scheduler.commit(choose({21}));
  scheduler.commit(choose({22}));
  ASSERT_EQ(second.events.size(), 2u);
  EXPECT_EQ(second.events[0].token, 21);
  EXPECT_EQ(second.events[1].token, 22);
  EXPECT_EQ(second.ends.at(0).reason, FinishReason::length);
  EXPECT_EQ(second.ends.at(0).usage.seen_tokens, 3);
}

}  // namespace
}  // namespace sinkstream
