// Sessions that begin with what they had seen before: what they say is what they would have said.
#include <gtest/gtest.h>

#include "tests/worker/engine/modelled_engine.h"
#include "worker/engine/plan_limits.h"

namespace sinkstream {
namespace {

// Of the session's first `tokens`, as little as it needs to go back by `reach`.
Past past_of(const std::vector<TokenId>& content, std::int64_t reach = 1) {
  const SessionShape shape = small_limits().session;
  const std::int64_t begin = replay_begin(std::ssize(content), reach, shape.window, shape.num_layers);
  const auto sinks = std::min<std::int64_t>(shape.window.sink_tokens, std::ssize(content));
  return {std::vector<TokenId>(content.begin(), content.begin() + sinks), begin,
          std::vector<TokenId>(content.begin() + begin, content.end())};
}

Generate turn(std::vector<TokenId> prompt, std::int64_t max_tokens) {
  Generate command = one_turn(std::move(prompt), max_tokens);
  command.session = 1;
  return command;
}

class Pasts : public testing::TestWithParam<int> {
 protected:
  ModelledEngine engine{GetParam(), small_limits()};

  void open(const Past& past) { engine.send(OpenSession{.session = 1, .window = {}, .past = past}); }
  std::int64_t replayed() const {
    EngineStats stats;
    engine.scheduler.add_counts(stats);
    return stats.replayed_tokens;
  }
};

INSTANTIATE_TEST_SUITE_P(Depths, Pasts, testing::Values(1, 2, 3),
                         [](const auto& test) { return std::to_string(test.param); });

TEST_P(Pasts, OfAnyLengthGoOn) {
  for (std::int64_t length = 1; length <= 64; ++length) {
    SCOPED_TRACE(length);
    const auto content = counting_tokens(length);
    const std::int64_t before = replayed();
    open(past_of(content));
    EXPECT_EQ(engine.run(turn({7}, 5)).tokens(), said_after(joined(content, {7}), 5));
    EXPECT_EQ(replayed() - before, std::min<std::int64_t>(length, 2 + 2 * 9 + 1));
    engine.send(CloseSession{.session = 1});
  }
}

TEST_P(Pasts, NeedNothingNewToGoOn) {
  const auto content = counting_tokens(50);
  open(past_of(content));
  EXPECT_EQ(engine.run(turn({}, 5)).tokens(), said_after(content, 5));
}

TEST_P(Pasts, ThatWereNotTakenInYetGoBack) {
  const auto content = counting_tokens(50);
  open(past_of(content, 7));
  engine.send(RollBackSession{.session = 1, .to = 43});
  EXPECT_TRUE(engine.ledger.refused(engine.send(RollBackSession{.session = 1, .to = 42})));
  const RequestId fork = engine.send(ForkSession{.session = 2, .from = 1, .at = 43});
  EXPECT_EQ(engine.ledger.changed(fork)->usage.seen_tokens, 43);
  EXPECT_EQ(engine.run(turn({7}, 5)).tokens(), said_after(joined(counting_tokens(43), {7}), 5));
}

TEST_P(Pasts, ThatWereTakenInGoBackAsFarAsTheyAreSound) {
  const auto content = counting_tokens(50);
  open(past_of(content, 7));
  engine.run(turn({}, 0));
  EXPECT_TRUE(engine.ledger.refused(engine.send(RollBackSession{.session = 1, .to = 42})));
  EXPECT_TRUE(engine.ledger.changed(engine.send(RollBackSession{.session = 1, .to = 43})));
  EXPECT_EQ(engine.run(turn({7}, 5)).tokens(), said_after(joined(counting_tokens(43), {7}), 5));
}

// At whatever moment its turn is cancelled: the session has all that it had, and what it was given.
TEST_P(Pasts, SurviveACancel) {
  for (int steps = 0; steps < 8; ++steps) {
    SCOPED_TRACE(steps);
    const auto content = counting_tokens(50);
    open(past_of(content));
    const RequestId request = engine.send(turn({7, 8}, 100));
    engine.run(steps);
    engine.scheduler.take(Cancel{request});
    const Told& told = engine.ledger.of(request);
    ASSERT_EQ(told.ends.size(), 1u);
    const auto said = joined(joined(content, {7, 8}), told.tokens());
    EXPECT_EQ(told.ends[0].usage.seen_tokens + std::ssize(told.ends[0].pending), std::ssize(said));
    EXPECT_GE(told.ends[0].usage.seen_tokens, 50);
    EXPECT_EQ(engine.run(turn({9}, 5)).tokens(), said_after(joined(said, {9}), 5));
    engine.send(CloseSession{.session = 1});
  }
}

// A client that leaves before its session was made anew, and comes again, comes further each time.
TEST_P(Pasts, AreTakenInOnceThoughTheirTurnsAreCancelled) {
  auto content = counting_tokens(50);
  open(past_of(content));
  for (int i = 0; i < 4; ++i) {
    const RequestId request = engine.send(turn({7}, 100));
    engine.run(1);
    engine.scheduler.take(Cancel{request});
    const Told& told = engine.ledger.of(request);
    content = joined(joined(content, {7}), told.tokens());
    EXPECT_GE(told.ends.at(0).usage.seen_tokens, 50);
    EXPECT_EQ(told.ends[0].usage.seen_tokens + std::ssize(told.ends[0].pending), std::ssize(content));
  }
  EXPECT_EQ(engine.run(turn({9}, 5)).tokens(), said_after(joined(content, {9}), 5));
  EXPECT_EQ(replayed(), 2 + 2 * 9 + 1);
}

// It cannot go back before it is whole, but be copied and parked.
TEST_P(Pasts, ThatAreTakenInByHalfAreCopiedAndParked) {
  ModelledEngine parking(GetParam(), small_limits(1, 4));
  const auto content = counting_tokens(50);
  parking.send(OpenSession{.session = 1, .window = {}, .past = past_of(content, 7)});
  const RequestId request = parking.send(turn({7}, 100));
  parking.run(2);
  parking.scheduler.take(Cancel{request});
  EXPECT_EQ(parking.ledger.of(request).ends.at(0).usage.seen_tokens, 50);
  EXPECT_TRUE(parking.ledger.refused(parking.send(RollBackSession{.session = 1, .to = 49})));
  EXPECT_TRUE(parking.ledger.changed(parking.send(RollBackSession{.session = 1, .to = 50})));
  parking.send(ForkSession{.session = 2, .from = 1});
  EXPECT_EQ(parking.run(one_turn({5}, 3)).tokens(), said_after({5}, 3));
  for (const SessionId id : {1, 2}) {
    Generate command = turn({8}, 5);
    command.session = id;
    EXPECT_EQ(parking.run(std::move(command)).tokens(), said_after(joined(content, {8}), 5)) << id;
  }
}

TEST(Past, ThatWouldNotDoIsRefused) {
  PlanLimits limits{.num_slots = 1, .max_rows = 8, .vocab_size = 100, .session = small_limits().session};
  const auto why = [&](const Past& past) {
    return refusal(OpenSession{.session = 1, .window = {}, .past = past}, limits).value_or("");
  };
  const auto tokens = [](std::size_t count) { return std::vector<TokenId>(count, 5); };
  EXPECT_EQ(why({tokens(2), 50, tokens(19)}), "");
  EXPECT_NE(why({tokens(2), 50, tokens(18)}), "") << "too little is left";
  EXPECT_NE(why({tokens(1), 50, tokens(19)}), "") << "a sink is missing";
  EXPECT_NE(why({tokens(2), 1, tokens(18)}), "") << "recent tokens before the sinks' end";
  EXPECT_EQ(why({tokens(2), 2, tokens(1)}), "") << "nothing is left out";
  EXPECT_EQ(why({}), "");
  EXPECT_NE(why({tokens(2), 50, std::vector<TokenId>(19, 100)}), "") << "no such token";
  limits.session.num_layers = 0;  // the newest would be the first
  EXPECT_NE(why({tokens(2), 50, {}}), "");
  limits.session = {.window = {0, 64}, .max_context = 64, .ring_capacity = 64};
  EXPECT_NE(why({{}, 1, tokens(63)}), "") << "dense: all is kept";
  EXPECT_EQ(why({{}, 0, tokens(64)}), "");
  EXPECT_NE(why({{}, 0, tokens(65)}), "");
}

}  // namespace
}  // namespace sinkstream
