// Sessions that end at stop strings, outlive their turns, fork and go back: what they say is what one
// session says that was given the same tokens.
#include <gtest/gtest.h>

#include "tests/worker/engine/modelled_engine.h"

namespace sinkstream {
namespace {

class Sessions : public testing::TestWithParam<int> {
 protected:
  ModelledEngine engine{GetParam(), small_limits()};

  SessionId open() {
    const SessionId session = next_session_++;
    engine.send(OpenSession{.session = session});
    return session;
  }
  Generate turn(SessionId session, std::vector<TokenId> prompt, std::int64_t max_tokens) {
    Generate command = one_turn(std::move(prompt), max_tokens);
    command.session = session;
    return command;
  }

 private:
  SessionId next_session_ = 1;
};

INSTANTIATE_TEST_SUITE_P(Depths, Sessions, testing::Values(1, 2, 3),
                         [](const auto& test) { return std::to_string(test.param); });

// ---- Stop strings

// The coordinator finds a stop string some tokens after it was told them, when the engine is further.
TEST_P(Sessions, AStopTakesTheSessionBackToWhatWasTold) {
  for (const int told_first : {1, 2, 5}) {
    for (const std::int64_t kept : {0, 1, 3}) {
      const SessionId session = open();
      const auto prompt = counting_tokens(25);
      const RequestId request = engine.send(turn(session, prompt, 50));
      while (std::ssize(engine.ledger.of(request).events) < told_first) ASSERT_TRUE(engine.step());
      const auto said = engine.ledger.of(request).tokens();
      if (kept > std::ssize(said)) continue;
      EndTurn stop{.request = request, .position = 25 + std::min(kept, std::ssize(said) - 1)};
      if (kept == std::ssize(said)) stop.pending = {said.back()};
      engine.scheduler.take(stop);
      const Told& told = engine.ledger.of(request);
      ASSERT_EQ(told.ends.size(), 1u);
      EXPECT_EQ(told.ends[0].reason, FinishReason::stop);
      EXPECT_EQ(told.ends[0].usage, session_usage(stop.position, small_limits().session.window));
      EXPECT_EQ(told.ends[0].pending, stop.pending);
      engine.run();

      // And goes on as if no more than that had ever been.
      const std::vector<TokenId> kept_tokens(said.begin(), said.begin() + kept);
      const auto content = joined(joined(prompt, kept_tokens), {7, 8, 9});
      EXPECT_EQ(engine.run(turn(session, {7, 8, 9}, 6)).tokens(), said_after(content, 6));
      engine.send(CloseSession{.session = session});
    }
  }
}

TEST_P(Sessions, AStopThatComesAfterTheEndTakesTheSessionBackToo) {
  const SessionId session = open();
  const auto prompt = counting_tokens(25);
  const Told& told = engine.run(turn(session, prompt, 6));
  ASSERT_EQ(told.ends.size(), 1u);
  EXPECT_EQ(told.ends[0].usage.seen_tokens, 30);
  EXPECT_EQ(told.ends[0].pending, std::vector<TokenId>{told.tokens()[5]});
  const auto said = told.tokens();
  engine.scheduler.take(EndTurn{.request = told.request, .position = 27});
  EXPECT_EQ(told.ends.size(), 1u) << "a turn ends once";
  EXPECT_EQ(engine.ledger.changed(told.request)->usage.seen_tokens, 27);
  const auto content = joined(prompt, {said[0], said[1], 7});
  EXPECT_EQ(engine.run(turn(session, {7}, 6)).tokens(), said_after(content, 6));
}

TEST_P(Sessions, AStopOfATurnWithoutASessionClosesIt) {
  const RequestId request = engine.send(one_turn(counting_tokens(8), 50));
  while (engine.ledger.of(request).events.size() < 4) ASSERT_TRUE(engine.step());
  engine.scheduler.take(EndTurn{.request = request, .position = 9});
  EXPECT_EQ(engine.ledger.of(request).ends.at(0).usage.seen_tokens, 9);
  EXPECT_EQ(engine.running(), 0);
  engine.scheduler.take(EndTurn{.request = request, .position = 8});  // of what is gone
  engine.run();
  EXPECT_EQ(engine.ledger.of(request).ends.size(), 1u);
  EXPECT_FALSE(engine.ledger.changed(request));
}

// ---- Sessions of several turns

TEST_P(Sessions, TurnsGoOnWhereTheLastOneEnded) {
  const SessionId session = open();
  std::vector<TokenId> content;
  for (const std::int64_t max_tokens : {5, 1, 0, 0, 40, 3}) {
    const auto prompt = counting_tokens(7 + max_tokens, 500);
    content = joined(content, prompt);
    const Told& told = engine.run(turn(session, prompt, max_tokens));
    const auto said = said_after(content, static_cast<std::size_t>(max_tokens));
    EXPECT_EQ(told.tokens(), said);
    EXPECT_EQ(told.ends.at(0).reason, FinishReason::length);
    content = joined(content, said);
    const std::int64_t pending = max_tokens > 0 ? 1 : 0;
    EXPECT_EQ(std::ssize(told.ends.at(0).pending), pending) << "the last token was told, and not taken in";
    EXPECT_EQ(told.ends.at(0).usage.seen_tokens, std::ssize(content) - pending);
    EXPECT_EQ(engine.running(), 0) << "it rests";
    EXPECT_EQ(engine.stats().used_slots, 1);
  }
  // Without anything new it goes on from what is pending.
  EXPECT_EQ(engine.run(turn(session, {}, 4)).tokens(), said_after(content, 4));
}

TEST_P(Sessions, AnEndTokenIsNotPartOfTheSession) {
  const auto prompt = counting_tokens(9);
  const auto said = said_after(prompt, 6);
  const SessionId session = open();
  Generate command = turn(session, prompt, 20);
  command.params.stop_token_ids = {said[3]};
  const Told& told = engine.run(command);
  EXPECT_EQ(told.tokens(), std::vector<TokenId>(said.begin(), said.begin() + 3));
  EXPECT_EQ(told.ends.at(0).stop_token, said[3]);
  EXPECT_TRUE(told.ends.at(0).pending.empty());
  EXPECT_EQ(told.ends.at(0).usage.seen_tokens, 12);
  // Whoever goes on says whether it belongs to the text.
  const auto with_end = joined(joined(prompt, told.tokens()), {said[3], 7});
  EXPECT_EQ(engine.run(turn(session, {said[3], 7}, 3)).tokens(), said_after(with_end, 3));
}

TEST_P(Sessions, WhatIsPendingIsNotToldAgain) {
  const SessionId session = open();
  const auto said = engine.run(turn(session, counting_tokens(5), 2)).tokens();
  Generate command = turn(session, {40, 41, 42}, 1);
  command.params.prompt_logprobs = true;
  const Told& told = engine.run(command);
  ASSERT_EQ(told.events.size(), 4u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(told.events[i].token, 40 + static_cast<TokenId>(i));
    EXPECT_EQ(told.events[i].position, 7 + static_cast<std::int64_t>(i));
    EXPECT_TRUE(told.events[i].logprob) << "there are tokens before the first";
  }
}

// Cancelled at every moment: what was given stays the session's, what was told too.
TEST_P(Sessions, ACancelledTurnLeavesWhatItWasGivenAndTold) {
  for (int steps = 0; steps < 20; ++steps) {
    ModelledEngine one(GetParam(), small_limits());
    one.send(OpenSession{.session = 9});
    const auto prompt = counting_tokens(50);
    const RequestId request = one.send(turn(9, prompt, 100));
    one.run(steps);
    one.scheduler.take(Cancel{request});
    const Told& told = one.ledger.of(request);
    ASSERT_EQ(told.ends.size(), 1u);
    const auto content = joined(prompt, told.tokens());
    EXPECT_EQ(told.ends[0].usage.seen_tokens + std::ssize(told.ends[0].pending), std::ssize(content));
    EXPECT_EQ(one.run(turn(9, {3, 4}, 5)).tokens(), said_after(joined(content, {3, 4}), 5)) << steps;
  }
}

TEST_P(Sessions, ForkedSessionsGoTheirOwnWays) {
  const SessionId session = open();
  const auto prompt = counting_tokens(21);
  const auto content = joined(prompt, engine.run(turn(session, prompt, 5)).tokens());
  const auto at = [&](std::int64_t tokens) {
    return std::vector<TokenId>(content.begin(), content.begin() + tokens);
  };
  for (const std::int64_t tokens : {26, 25, 24, 17}) {
    const SessionId fork = 100 + static_cast<SessionId>(tokens);
    ForkSession command{.session = fork, .from = session};
    if (tokens < 26) command.at = tokens;
    const RequestId request = engine.send(command);
    EXPECT_FALSE(engine.ledger.changed(request)) << "its copy can still fail";
    engine.run();
    ASSERT_TRUE(engine.ledger.changed(request)) << tokens;
    EXPECT_EQ(engine.ledger.changed(request)->usage.seen_tokens, std::min<std::int64_t>(tokens, 25));
    EXPECT_EQ(engine.run(turn(fork, {3}, 4)).tokens(), said_after(joined(at(tokens), {3}), 4)) << tokens;
    engine.send(CloseSession{.session = fork});
  }
  EXPECT_EQ(engine.run(turn(session, {4}, 4)).tokens(), said_after(joined(content, {4}), 4));
}

TEST_P(Sessions, GoesBackAsFarAsItsCacheHasItAndNoFurther) {
  const auto prompt = counting_tokens(60);
  for (std::int64_t to = -1; to <= 61; ++to) {
    const SessionId session = open();
    engine.run(turn(session, prompt, 0));
    const RequestId request = engine.send(RollBackSession{.session = session, .to = to});
    // The ring has [42, 60); the window of a token at 51 begins at 42.
    const bool is_there = to == 0 || (to >= 51 && to <= 60);
    EXPECT_EQ(engine.ledger.changed(request).has_value(), is_there) << to;
    engine.run();  // a session that rests does nothing
    if (is_there) {
      const std::vector<TokenId> kept(prompt.begin(), prompt.begin() + to);
      EXPECT_EQ(engine.run(turn(session, {2, 3}, 4)).tokens(), said_after(joined(kept, {2, 3}), 4)) << to;
    } else {
      EXPECT_EQ(engine.ledger.refused(request)->reason, RefusalReason::out_of_reach);
      EXPECT_EQ(engine.ledger.refused(request)->usage.seen_tokens, 60);
    }
    engine.send(CloseSession{.session = session});
  }
}

// What once stood in the ring is gone, also after the session went back.
TEST_P(Sessions, GoingBackTwiceIsBoundedByHowFarItEverWas) {
  const SessionId session = open();
  engine.run(turn(session, counting_tokens(60), 0));
  EXPECT_TRUE(engine.ledger.changed(engine.send(RollBackSession{.session = session, .to = 51})));
  engine.run(turn(session, {2, 3, 4}, 0));
  EXPECT_TRUE(engine.ledger.refused(engine.send(RollBackSession{.session = session, .to = 50})));
  EXPECT_TRUE(engine.ledger.changed(engine.send(RollBackSession{.session = session, .to = 52})));
}

TEST_P(Sessions, RefusesWhatDoesNotFitTheirState) {
  const auto reason = [&](auto command) {
    const auto refused = engine.ledger.refused(engine.send(command));
    return refused ? std::optional(refused->reason) : std::nullopt;
  };
  EXPECT_EQ(reason(turn(77, {1}, 1)), RefusalReason::unknown_session);
  EXPECT_EQ(reason(CloseSession{.session = 77}), RefusalReason::unknown_session);
  EXPECT_EQ(reason(RollBackSession{.session = 77}), RefusalReason::unknown_session);
  EXPECT_EQ(reason(ForkSession{.session = 78, .from = 77}), RefusalReason::unknown_session);
  EXPECT_EQ(reason(OpenSession{.session = kNoSession}), RefusalReason::session_exists);
  const SessionId session = open();
  EXPECT_EQ(reason(OpenSession{.session = session}), RefusalReason::session_exists);
  EXPECT_EQ(reason(ForkSession{.session = session, .from = session}), RefusalReason::session_exists);
  EXPECT_EQ(reason(turn(session, {}, 1)), RefusalReason::invalid) << "there is nothing to take in";
  EXPECT_EQ(reason(RollBackSession{.session = session, .to = 1}), RefusalReason::out_of_reach);

  Generate expecting = turn(session, {1, 2, 3}, 4);
  expecting.expected_tokens = 1;
  EXPECT_EQ(reason(expecting), RefusalReason::not_as_expected);
  expecting.expected_tokens = 0;
  engine.run(expecting);
  EXPECT_EQ(reason(expecting), RefusalReason::not_as_expected);
  expecting.expected_tokens = 7;
  const RequestId running = engine.send(expecting);
  for (int i = 0; i < 2; ++i) engine.step();
  EXPECT_EQ(reason(turn(session, {1}, 1)), RefusalReason::session_busy);
  EXPECT_EQ(reason(RollBackSession{.session = session}), RefusalReason::session_busy);
  EXPECT_EQ(reason(ForkSession{.session = 78, .from = session}), RefusalReason::session_busy);
  engine.run();
  EXPECT_EQ(engine.ledger.of(running).events.size(), 4u);
  // Four slots: two sessions rest in theirs, two requests run on, and a third session has none yet.
  engine.run(turn(open(), {1}, 0));
  for (int i = 0; i < 2; ++i) engine.send(one_turn({5}, 1'000'000));
  engine.step();
  EXPECT_EQ(reason(ForkSession{.session = 78, .from = session}), RefusalReason::queue_full);
  const SessionId without_slot = open();
  EXPECT_EQ(reason(OpenSession{.session = 78}), RefusalReason::queue_full) << "one slot is for others";
  const RequestId waiting = engine.send(turn(without_slot, {1}, 1));
  EXPECT_EQ(reason(turn(without_slot, {1}, 1)), RefusalReason::session_busy) << "it waits for a slot";
  EXPECT_EQ(reason(ForkSession{.session = 78, .from = without_slot}), RefusalReason::session_busy);
  const RequestId closing = engine.send(CloseSession{.session = session});
  EXPECT_EQ(engine.ledger.changed(closing)->usage.seen_tokens, 13);
  engine.run(20);
  EXPECT_EQ(engine.ledger.of(waiting).events.size(), 1u) << "and has it now";
  EXPECT_EQ(reason(turn(session, {1}, 1)), RefusalReason::unknown_session);
}

TEST_P(Sessions, ADenseSessionIsRefusedWhatItHasNoRoomFor) {
  SchedulerLimits limits = small_limits();
  limits.session.max_context = 30;
  limits.session.window = {0, 30};
  limits.session.ring_capacity = 30;
  ModelledEngine dense(GetParam(), limits);
  dense.send(OpenSession{.session = 1});
  dense.run(turn(1, counting_tokens(20), 5));
  const auto refused = dense.ledger.refused(dense.send(turn(1, counting_tokens(6), 5)));
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->reason, RefusalReason::invalid);
  EXPECT_NE(refused->message.find("max_context (30)"), std::string::npos);
  EXPECT_EQ(dense.run(turn(1, counting_tokens(5), 50)).events.size(), 1u);
  EXPECT_TRUE(dense.ledger.changed(dense.send(RollBackSession{.session = 1, .to = 1})))
      << "nothing is evicted";
}

TEST_P(Sessions, ClosingEndsTheTurn) {
  const SessionId session = open();
  const RequestId waiting = engine.send(turn(session, counting_tokens(30), 9));
  engine.send(CloseSession{.session = session});
  EXPECT_EQ(engine.ledger.of(waiting).ends.at(0).reason, FinishReason::cancelled);
  const SessionId other = open();
  const RequestId running = engine.send(turn(other, counting_tokens(30), 9));
  engine.step();
  engine.send(CloseSession{.session = other});
  EXPECT_EQ(engine.ledger.of(running).ends.at(0).reason, FinishReason::cancelled);
  engine.run();
  EXPECT_EQ(engine.running(), 0);
}

// ---- Operations that fail

TEST_P(Sessions, AnOperationThatFailsEndsItsSessionAlone) {
  Generate command = one_turn(counting_tokens(5), 4);
  command.n = 3;
  const RequestId request = engine.send(command);
  const RequestId other = engine.send(one_turn({8, 9}, 9));
  bool has_failed = false;
  engine.launched = [&](const StepPlan& plan) {
    for (std::size_t i = 0; i < plan.operations.size() && !has_failed; ++i) {
      if (!std::holds_alternative<CopySlot>(plan.operations[i])) continue;
      has_failed = true;
      engine.failures.push_back({static_cast<std::int32_t>(i), "rank 1: no memory"});
    }
  };
  engine.run();
  int failed = 0;
  for (std::int32_t choice = 0; choice < 3; ++choice) {
    const Told& told = engine.ledger.of(request, choice);
    ASSERT_EQ(told.ends.size(), 1u);
    if (told.ends[0].reason == FinishReason::failed) {
      ++failed;
      EXPECT_EQ(told.ends[0].message, "rank 1: no memory");
    } else {
      EXPECT_EQ(told.tokens(), said_after(counting_tokens(5), 4, static_cast<std::uint64_t>(choice)));
    }
  }
  EXPECT_EQ(failed, 1);
  EXPECT_EQ(engine.ledger.of(other).tokens(), said_after({8, 9}, 9));
  EXPECT_EQ(engine.running(), 0);
}

}  // namespace
}  // namespace sinkstream
