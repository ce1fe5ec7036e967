// The engine on a real, tiny checkpoint: threads as ranks, the golden tokens through the whole loop.
#include "worker/engine/engine_loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/worker/engine/engine_group.h"

namespace sinkstream {
namespace {

nlohmann::json reference() {
  std::ifstream in(kEngineTestModel / "reference.json");
  return nlohmann::json::parse(in);
}

class EngineOnRanks : public testing::TestWithParam<int> {};

TEST_P(EngineOnRanks, GreedyTokensAreTheReferences) {
  const auto golden = reference();
  for (const char* mode : {"sink", "window"}) {
    const auto& expected = golden[mode];
    GroupOptions options;
    options.ranks = GetParam();
    options.window = {expected["sink_tokens"], expected["window_tokens"]};
    const auto all = expected["greedy_tokens"].get<std::vector<TokenId>>();
    const auto prompt_length = expected["greedy_prompt"].get<std::ptrdiff_t>();
    TestGroup group(options);
    const Told& told =
        group.run(greedy_turn({all.begin(), all.begin() + prompt_length}, std::ssize(all) - prompt_length));
    EXPECT_EQ(told.tokens(), std::vector<TokenId>(all.begin() + prompt_length, all.end())) << mode;
  }
}

TEST_P(EngineOnRanks, ARequestThatRanksWouldRefuseFailsAlone) {
  GroupOptions options;
  options.ranks = GetParam();
  TestGroup group(options);
  std::vector<Generate> bad(10, greedy_turn({1, 2, 3}, 4));
  bad[0].params.sampling.top_p = 0;
  bad[1].params.sampling.repetition_penalty = 0;
  bad[2].prompts = {{1, 2}, {1, 256, 3}};
  bad[3].prompts = {SharedTokens()};
  bad[4].params.top_logprobs = 21;
  bad[5].params.top_prompt_logprobs = -1;
  bad[6].params.sampling.min_tokens = -1;
  bad[7].prompts.clear();
  bad[8].n = 0;
  bad[9].n = std::numeric_limits<std::int32_t>::max();
  for (const Generate& command : bad) {
    const Refused refused = group.ledger->wait_for_refusal(group.send(command));
    EXPECT_EQ(refused.reason, RefusalReason::invalid);
    EXPECT_FALSE(refused.message.empty());
  }
  EXPECT_EQ(group.run(greedy_turn({1, 2, 3}, 4)).ends.at(0).reason, FinishReason::length);
}

TEST_P(EngineOnRanks, PromptLogprobsAreTheReferencesFarBeyondTheWindow) {
  const auto golden = reference();
  GroupOptions options;
  options.ranks = GetParam();
  TestGroup group(options);
  Generate command = one_turn(golden["input_ids"].get<std::vector<TokenId>>(), 0);
  command.params.prompt_logprobs = true;
  const Told& told = group.run(command);
  EXPECT_EQ(told.ends.at(0).usage, (SessionUsage{200, 4, 32, 168}));
  const auto nll = golden["sink"]["nll"].get<std::vector<double>>();
  ASSERT_EQ(told.events.size(), nll.size() + 1);
  for (std::size_t i = 0; i < nll.size(); ++i) {
    EXPECT_NEAR(-static_cast<double>(*told.events[i + 1].logprob), nll[i], 2e-3) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, EngineOnRanks, testing::Values(1, 2, 3, 8));

// The strongest promise: what a session says does not depend on who else is there, bit for bit.
TEST(EngineLoop, ASessionAmongOthersEqualsTheSessionAlone) {
  const auto ids = reference()["input_ids"].get<std::vector<TokenId>>();
  const auto request_of = [&](int i) {
    Generate command = one_turn({ids.begin() + i, ids.begin() + i + 1 + 13 * i}, 40);
    TurnParams& params = command.params;
    params.sampling.temperature = 0.9f;
    params.sampling.top_p = i % 2 ? 0.9f : 1.0f;
    params.sampling.frequency_penalty = 0.3f;
    params.sampling.repeat_last_n = i % 3 ? 11 : -1;
    params.sampling.seed = static_cast<std::uint64_t>(i);
    params.logprobs = params.prompt_logprobs = true;
    params.top_logprobs = params.top_prompt_logprobs = 3;
    return command;
  };
  std::vector<Told> among;
  {
    TestGroup group({.ranks = 2, .slots = 3, .prefill_chunk = 24});
    std::vector<RequestId> requests;
    for (int i = 0; i < 9; ++i) requests.push_back(group.send(request_of(i)));
    for (const RequestId request : requests) group.ledger->wait_for_end(request);
    for (const RequestId request : requests) among.push_back(group.ledger->of(request));
  }
  for (int i = 0; i < 9; ++i) {
    TestGroup group({.ranks = 2, .slots = 1, .prefill_chunk = 5});
    const Told& alone = group.run(request_of(i));
    ASSERT_EQ(alone.events.size(), among[static_cast<std::size_t>(i)].events.size());
    for (std::size_t k = 0; k < alone.events.size(); ++k) {
      const auto& a = alone.events[k];
      const auto& b = among[static_cast<std::size_t>(i)].events[k];
      ASSERT_EQ(a.token, b.token) << "session " << i << ", event " << k;
      ASSERT_EQ(a.logprob, b.logprob) << "session " << i << ", event " << k;
      ASSERT_EQ(a.top.size(), b.top.size());
      for (std::size_t j = 0; j < a.top.size(); ++j) ASSERT_EQ(a.top[j].logprob, b.top[j].logprob);
    }
  }
}

TEST(EngineLoop, AFullQueueTakesAllOrNothing) {
  TestGroup group({.slots = 1, .max_queue = 2});
  const RequestId running = group.send(greedy_turn({1, 2, 3}, 1'000'000));
  while (group.engine->stats().running == 0) std::this_thread::yield();
  const RequestId second = group.send(greedy_turn({1}, 1));
  Generate two = greedy_turn({1}, 1);
  two.prompts = {{1}, {2}};
  const RequestId refused = group.send(two);
  EXPECT_EQ(group.ledger->refused(refused)->reason, RefusalReason::queue_full) << "at once";
  const RequestId third = group.send(greedy_turn({1}, 1));
  EXPECT_EQ(group.ledger->refused(group.send(greedy_turn({1}, 1)))->reason, RefusalReason::queue_full);
  // Also while the loop takes them from its inbox.
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(group.engine->stats().waiting, 2);
  group.engine->send(Cancel{running});
  EXPECT_EQ(group.ledger->wait_for_end(running).reason, FinishReason::cancelled);
  group.ledger->wait_for_end(second);
  group.ledger->wait_for_end(third);
  for (const std::int32_t choice : {0, 1}) EXPECT_TRUE(group.ledger->of(refused, choice).events.empty());
}

TEST(EngineLoop, StopEndsWhatRunsAndRefusesWhatComes) {
  std::shared_ptr<Ledger> ledger;
  RequestId running = 0;
  {
    TestGroup group({.ranks = 3});
    ledger = group.ledger;
    running = group.send(greedy_turn({1, 2, 3}, 1'000'000));
    group.engine->stop();
    EXPECT_EQ(ledger->refused(group.send(greedy_turn({1}, 1)))->reason, RefusalReason::ending);
  }
  EXPECT_EQ(ledger->wait_for_end(running).reason, FinishReason::ending);
}

TEST_P(EngineOnRanks, NothingEndsAnAnswerBeforeMinTokens) {
  TestGroup group({.ranks = GetParam()});
  Generate command = greedy_turn({1, 2, 3}, 12);
  TurnParams& params = command.params;
  const std::vector<TokenId> free_run = group.run(command).tokens();
  params.stop_token_ids = {free_run.at(0), free_run.at(1)};
  const Told& stopped = group.run(command);
  EXPECT_EQ(stopped.ends.at(0).stop_token, params.stop_token_ids[0]);
  EXPECT_TRUE(stopped.events.empty());

  params.sampling.min_tokens = 7;
  for (const float temperature : {0.0f, 2.0f}) {
    for (const std::int32_t top_k : {0, 2}) {
      params.sampling.temperature = temperature;
      params.sampling.top_k = top_k;
      params.sampling.logit_bias = {{params.stop_token_ids[1], 1000.0f}};
      const Told& held = group.run(command);
      EXPECT_EQ(held.ends.at(0).stop_token, params.stop_token_ids[1]) << "the bias rules again afterwards";
      EXPECT_EQ(held.events.size(), 7u);
      for (const TokenId token : held.tokens()) {
        EXPECT_EQ(std::count(params.stop_token_ids.begin(), params.stop_token_ids.end(), token), 0);
      }
    }
  }
}

TEST_P(EngineOnRanks, PenaltiesCountTheNewestTokensOfTheOutput) {
  TestGroup group({.ranks = GetParam(), .prefill_chunk = 5});
  const std::vector<TokenId> prompt{1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3};
  Generate command = greedy_turn(prompt, 60);
  SamplingParams& sampling = command.params.sampling;
  const Told& free_run = group.run(command);
  sampling.presence_penalty = 1000;  // what is counted never comes
  sampling.repeat_last_n = 0;
  EXPECT_EQ(group.run(command).tokens(), free_run.tokens());

  constexpr std::int32_t kLastN = 9;
  sampling.repeat_last_n = kLastN;
  sampling.earlier_output = {4, 1, 5};
  sampling.logit_bias = {{1, 500.0f}};  // as soon as it may come again
  const Told& penalized = group.run(command);
  std::vector<TokenId> all(kLastN - 3, -1);
  all.insert(all.end(), {4, 1, 5});
  for (const TokenId token : penalized.tokens()) {
    const auto newest = std::span(all).last(kLastN);
    const bool one_is_free = std::ranges::count(newest, 1) == 0;
    EXPECT_EQ(std::ranges::count(newest, token), 0) << "token " << all.size();
    EXPECT_EQ(token == 1, one_is_free) << "token " << all.size();
    all.push_back(token);
  }
}

TEST(EngineLoop, AReaderThatGrantsLateGetsTheSame) {
  TestGroup group({.ranks = 2});
  Generate command = greedy_turn({5, 6, 7}, 50);
  const Told& reference_run = group.run(command);
  command.credit = 1;
  const RequestId slow = group.send(command);
  for (std::int64_t granted = 1; granted <= 50; granted += 7) {
    group.engine->send(Grant{slow, 0, granted});
    while (group.engine->stats().generated_tokens < 50 + granted) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_EQ(group.engine->stats().generated_tokens, 50 + granted) << "no further than it may";
  }
  group.engine->send(Grant{slow, 0, kMuchCredit});
  group.ledger->wait_for_end(slow);
  EXPECT_EQ(group.ledger->of(slow).tokens(), reference_run.tokens());
}

struct Answer {
  std::vector<TokenId> tokens;
  SessionUsage usage;
};

Answer answer_of(TestGroup& group, RequestId request) {
  const SessionUsage usage = group.ledger->wait_for_end(request).usage;
  return {group.ledger->of(request).tokens(), usage};
}

std::vector<Generate> mixed_turns() {
  const std::vector<TokenId> text = reference()["input_ids"].get<std::vector<TokenId>>();
  std::vector<Generate> turns;
  for (std::size_t i = 0; i < 12; ++i) {
    const auto begin = text.begin() + static_cast<std::ptrdiff_t>(3 * i);
    Generate turn = greedy_turn({begin, begin + 2 + static_cast<std::ptrdiff_t>(5 * (i % 4))},
                                5 + static_cast<std::int64_t>(7 * i % 31));
    turn.params.sampling.temperature = i % 3 == 0 ? 0.0f : 1.0f;
    turn.params.sampling.seed = i;
    turn.params.sampling.frequency_penalty = i % 2 == 0 ? 0.0f : 0.5f;
    turn.params.logprobs = i % 2 == 1;
    turns.push_back(turn);
  }
  return turns;
}

// With steps in flight a session's end is known only after its slot has been taken further; the next session
// in the slot must see none of it.
TEST(EngineLoop, SlotsChangeHandsWhileStepsAreUnderWay) {
  for (const int ranks : {1, 3}) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks");
    // Alone, one step after the other, and then with the token in the middle of each answer as its end.
    std::vector<Generate> turns = mixed_turns();
    std::vector<Answer> alone;
    {
      TestGroup group({.ranks = ranks, .slots = 1});
      for (auto& turn : turns) {
        const auto tokens = answer_of(group, group.send(turn)).tokens;
        if (tokens.size() > 6) turn.params.stop_token_ids = {tokens[tokens.size() / 2]};
        alone.push_back(answer_of(group, group.send(turn)));
      }
    }
    TestGroup group({.ranks = ranks, .slots = 2, .backend = "awkward"});
    std::vector<RequestId> requests;
    for (const auto& turn : turns) requests.push_back(group.send(turn));
    for (std::size_t i = 0; i < turns.size(); ++i) {
      const Answer answer = answer_of(group, requests[i]);
      EXPECT_EQ(answer.usage, alone[i].usage) << i;
      EXPECT_EQ(answer.tokens, alone[i].tokens) << i;
    }
    EXPECT_EQ(group.most_steps_in_flight(), std::vector<std::uint64_t>(static_cast<std::size_t>(ranks), 2))
        << "steps overlap on every rank";
  }
}

// Steps that overlap are launched before the one ahead has ended; their times must not be counted twice.
TEST(EngineLoop, TheTimesOfStepsAddUpToNoMoreThanTheTimeThatPassed) {
  TestGroup group({.backend = "awkward"});
  const auto begin = std::chrono::steady_clock::now();
  group.run(greedy_turn({1, 2, 3}, 100));
  const double steps = group.engine->stats().steps.sum;
  const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_GT(steps, 0);
  EXPECT_LE(steps, passed);
  const auto per_token = group.engine->stats().seconds_per_prompt_token;
  ASSERT_TRUE(per_token);
  EXPECT_GT(*per_token, 0);
  EXPECT_LE(*per_token, passed);
}

}  // namespace
}  // namespace sinkstream
