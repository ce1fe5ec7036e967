// Sequences of commands and of failures that are rare, or that only a careless client would send.
#include <gtest/gtest.h>

#include <functional>

#include "tests/worker/engine/modelled_engine.h"

namespace sinkstream {
namespace {

class SessionDefects : public testing::TestWithParam<int> {
 protected:
  ModelledEngine engine{GetParam(), small_limits()};

  Generate turn(SessionId session, std::vector<TokenId> prompt, std::int64_t max_tokens) {
    Generate command = one_turn(std::move(prompt), max_tokens);
    command.session = session;
    return command;
  }
  // A session that rests, with 30 tokens.
  void make_session(SessionId session) {
    engine.send(OpenSession{.session = session});
    engine.run(turn(session, counting_tokens(30), 0));
  }
  // The first operation of this kind fails.
  template <typename Operation>
  void let_fail(std::function<void()> then = [] {}) {
    engine.launched = [this, then, has_failed = false](const StepPlan& plan) mutable {
      for (std::size_t i = 0; i < plan.operations.size() && !has_failed; ++i) {
        if (!std::holds_alternative<Operation>(plan.operations[i])) continue;
        has_failed = true;
        engine.failures.push_back({static_cast<std::int32_t>(i), "rank 1: no memory"});
        then();
      }
    };
  }
  bool is_there(SessionId session) {
    const RequestId request = engine.send(turn(session, {5}, 1));
    engine.run();
    return !engine.ledger.refused(request);
  }
};

INSTANTIATE_TEST_SUITE_P(Depths, SessionDefects, testing::Values(1, 2, 3),
                         [](const auto& test) { return std::to_string(test.param); });

// ---- Operations that fail

TEST_P(SessionDefects, AForkWhoseCopyFailedIsGone) {
  make_session(1);
  let_fail<CopySlot>();
  engine.send(ForkSession{.session = 2, .from = 1});
  engine.run();
  EXPECT_FALSE(is_there(2));
  EXPECT_TRUE(is_there(1));
}

// Copied and taken back in one plan: the failure is the copy's, the session has another number since.
TEST_P(SessionDefects, AForkThatWentBackIsGoneWhenItsCopyFailed) {
  make_session(1);
  let_fail<CopySlot>();
  engine.send(ForkSession{.session = 2, .from = 1, .at = 25});
  engine.run();
  EXPECT_FALSE(is_there(2)) << "it goes on from memory that was never written";
}

TEST_P(SessionDefects, AForkWhoseTurnWasCancelledIsGoneWhenItsCopyFailed) {
  make_session(1);
  let_fail<CopySlot>();
  engine.send(ForkSession{.session = 2, .from = 1});
  const RequestId request = engine.send(turn(2, {7, 8}, 4));
  engine.scheduler.take(Cancel{request});
  engine.run();
  EXPECT_FALSE(is_there(2));
}

TEST_P(SessionDefects, WhatWasCopiedFromAFailedCopyIsGoneToo) {
  make_session(1);
  let_fail<CopySlot>();
  engine.send(ForkSession{.session = 2, .from = 1});
  engine.send(ForkSession{.session = 3, .from = 2});
  engine.run();
  EXPECT_FALSE(is_there(2));
  EXPECT_FALSE(is_there(3)) << "it is a copy of nothing";
}

TEST_P(SessionDefects, SomebodyIsToldThatAForkFailed) {
  make_session(1);
  let_fail<CopySlot>();
  const RequestId request = engine.send(ForkSession{.session = 2, .from = 1});
  engine.run();
  EXPECT_TRUE(engine.ledger.refused(request)) << "it was told to be there, and nothing since";
}

// The copy begins its turn while the prompt's last log-probabilities are under way.
TEST_P(SessionDefects, NothingIsToldAfterAChoicesEnd) {
  Generate command = one_turn(counting_tokens(8), 3);
  command.n = 2;
  command.params.prompt_logprobs = true;
  std::size_t told_at_end = 0;
  RequestId request = 0;
  let_fail<CopySlot>([&] { told_at_end = engine.ledger.of(request).events.size(); });
  request = engine.send(command);
  engine.run();
  ASSERT_EQ(engine.ledger.of(request).ends.size(), 1u);
  EXPECT_EQ(engine.ledger.of(request).ends[0].reason, FinishReason::failed);
  EXPECT_EQ(engine.ledger.of(request).events.size(), told_at_end);
}

// ---- Choices that wait while they have a slot

TEST_P(SessionDefects, AChoiceThatHasASlotDoesNotWaitForAnotherRequest) {
  ModelledEngine two(GetParam(), small_limits(2));
  two.send(one_turn({5, 6}, 1'000'000));  // as good as endless
  Generate command = one_turn(counting_tokens(20), 4);
  command.n = 2;
  const RequestId request = two.send(command);
  two.run(500);
  EXPECT_EQ(two.ledger.of(request, 0).tokens(), said_after(counting_tokens(20), 4, 0));
  EXPECT_EQ(two.ledger.of(request, 1).tokens(), said_after(counting_tokens(20), 4, 1));
}

TEST_P(SessionDefects, AChoiceThatHasASlotDoesNotWaitForAnotherReader) {
  for (const SessionId session : {kNoSession, SessionId{1}}) {
    ModelledEngine two(GetParam(), small_limits(2));
    if (session != kNoSession) two.send(OpenSession{.session = session});
    Generate paused = turn(session, {5, 6}, 100);
    paused.credit = 3;
    two.send(paused);
    two.run();
    Generate command = one_turn(counting_tokens(20), 4);
    command.n = 3;
    const RequestId request = two.send(command);
    two.run();
    for (std::int32_t choice = 0; choice < 3; ++choice) {
      EXPECT_EQ(two.ledger.of(request, choice).ends.size(), 1u) << choice << " in session " << session;
    }
  }
}

// ---- Credit

TEST_P(SessionDefects, AScoredPromptEndsWithAsMuchCreditAsItHasTokens) {
  for (const std::int64_t length : {1, 2, 8, 20}) {
    for (const std::int32_t n : {1, 3}) {
      Generate command = one_turn(counting_tokens(length), 0);
      command.params.prompt_logprobs = true;
      command.n = n;
      command.credit = length;
      const Told& told = engine.run(command);
      EXPECT_EQ(std::ssize(told.events), length);
      EXPECT_EQ(told.ends.size(), 1u) << length << " tokens, " << n << " choices";
      engine.scheduler.take(Cancel{told.request});
    }
  }
}

TEST_P(SessionDefects, CreditForOneEventTellsOne) {
  Generate command = one_turn(counting_tokens(8), 2);
  command.params.prompt_logprobs = true;
  command.credit = 1;
  const RequestId request = engine.send(command);
  for (std::int64_t events = 1; events <= 10; ++events) {
    engine.scheduler.take(Grant{request, 0, events});
    engine.run();
    EXPECT_EQ(std::ssize(engine.ledger.of(request).events), events);
  }
  EXPECT_EQ(engine.ledger.of(request).ends.size(), 1u);
}

// ---- Ends

TEST_P(SessionDefects, AStopBeyondWhatWasToldKeepsNothingUntold) {
  engine.send(OpenSession{.session = 1});
  const RequestId request = engine.send(turn(1, counting_tokens(5), 50));
  while (engine.ledger.of(request).events.size() < 2) ASSERT_TRUE(engine.step());
  const Told& told = engine.ledger.of(request);
  const std::int64_t known = 5 + std::ssize(told.events);
  engine.scheduler.take(EndTurn{.request = request, .position = known + 1});
  if (told.ends.empty()) return;  // ignored: right too
  EXPECT_LE(told.ends[0].usage.seen_tokens + std::ssize(told.ends[0].pending), known)
      << "the session has tokens that nobody was told";
}

TEST_P(SessionDefects, AStopOfAnotherChoiceLeavesASessionAlone) {
  engine.send(OpenSession{.session = 1});
  const RequestId request = engine.send(turn(1, counting_tokens(9), 3));
  engine.run();
  engine.scheduler.take(EndTurn{.request = request, .choice = 7, .position = 2});
  EXPECT_FALSE(engine.ledger.changed(request));
}

TEST_P(SessionDefects, AStopOfNoRequestLeavesAForkAlone) {
  make_session(1);
  engine.send(ForkSession{.session = 2, .from = 1});
  engine.scheduler.take(EndTurn{.request = 0, .position = 0});
  Generate command = turn(2, {5}, 1);
  command.expected_tokens = 30;
  EXPECT_FALSE(engine.ledger.refused(engine.send(command)));
}

// What a stop string asks for is not what a client who went away asks for.
TEST_P(SessionDefects, AStopThatIsOutOfReachIsAStopForATurnWithoutASession) {
  const RequestId request = engine.send(one_turn(counting_tokens(8), 200));
  while (engine.ledger.of(request).events.size() < 60) ASSERT_TRUE(engine.step());
  engine.scheduler.take(EndTurn{.request = request, .position = 20});
  ASSERT_EQ(engine.ledger.of(request).ends.size(), 1u);
  EXPECT_EQ(engine.ledger.of(request).ends[0].reason, FinishReason::stop);
  EXPECT_EQ(engine.ledger.of(request).ends[0].usage.seen_tokens, 20);
}

// ---- Counts

TEST_P(SessionDefects, WhatWasEvictedIsCountedUpOnly) {
  const auto evicted = [&] {
    EngineStats stats;
    engine.scheduler.add_counts(stats);
    return stats.evicted_tokens;
  };
  make_session(1);
  const std::int64_t before = evicted();
  EXPECT_EQ(before, 18);
  engine.send(RollBackSession{.session = 1, .to = 25});
  EXPECT_GE(evicted(), before) << "a counter of /metrics";
  engine.send(ForkSession{.session = 2, .from = 1});
  EXPECT_EQ(evicted(), before) << "a copy evicts nothing";
}

TEST_P(SessionDefects, TheSharedPrefillIsNoQueueing) {
  Generate command = one_turn(counting_tokens(40), 2);
  command.n = 4;
  const RequestId request = engine.send(command);
  engine.step();
  EngineStats stats;
  engine.scheduler.add_counts(stats);
  std::int64_t queued = 0;
  for (const std::int64_t count : stats.queueing.counts) queued += count;
  EXPECT_EQ(queued, 1) << "the request has a slot, and its prompt is being taken in";
  engine.run();
  EXPECT_EQ(engine.ledger.of(request).ends.size(), 1u);
}

}  // namespace
}  // namespace sinkstream
