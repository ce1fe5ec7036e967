// More sessions than slots: who rests is parked when others wait, and goes on as if it had stayed.
#include <gtest/gtest.h>

#include <functional>

#include "tests/worker/engine/modelled_engine.h"

namespace sinkstream {
namespace {

class Parking : public testing::TestWithParam<int> {
 protected:
  ModelledEngine make(std::int32_t slots, std::int32_t places) {
    return {GetParam(), small_limits(slots, places)};
  }
  static Generate turn(SessionId session, std::vector<TokenId> prompt, std::int64_t max_tokens) {
    Generate command = one_turn(std::move(prompt), max_tokens);
    command.session = session;
    return command;
  }
  // Sessions 1 ... count, one after the other, each with 30 tokens of its own.
  static void make_sessions(ModelledEngine& engine, SessionId count) {
    for (SessionId id = 1; id <= count; ++id) {
      engine.send(OpenSession{.session = id});
      engine.run(turn(id, content_of(id), 0));
    }
  }
  static std::vector<TokenId> content_of(SessionId id) {
    return counting_tokens(30, 100 * static_cast<TokenId>(id));
  }
  static EngineStats stats_of(const ModelledEngine& engine) {
    EngineStats stats;
    engine.scheduler.add_counts(stats);
    return stats;
  }
  static std::optional<RefusalReason> refusal_of(ModelledEngine& engine, RequestId request) {
    const auto refused = engine.ledger.refused(request);
    return refused ? std::optional(refused->reason) : std::nullopt;
  }
  template <typename Operation>
  static std::int64_t count(const StepPlan& plan) {
    return std::ranges::count_if(plan.operations, [](const SlotOperation& operation) {
      return std::holds_alternative<Operation>(operation);
    });
  }
  // The first `times` operations of this kind fail.
  template <typename Operation>
  static void let_fail(ModelledEngine& engine, int times = 1) {
    engine.launched = [&engine, times](const StepPlan& plan) mutable {
      for (std::size_t i = 0; i < plan.operations.size(); ++i) {
        if (!std::holds_alternative<Operation>(plan.operations[i]) || times == 0) continue;
        --times;
        engine.failures.push_back({static_cast<std::int32_t>(i), "rank 1: no memory"});
      }
    };
  }
};

INSTANTIATE_TEST_SUITE_P(Depths, Parking, testing::Values(1, 2, 3),
                         [](const auto& test) { return std::to_string(test.param); });

TEST_P(Parking, ManySessionsShareAFewSlots) {
  ModelledEngine engine = make(2, 20);
  make_sessions(engine, 20);
  EXPECT_EQ(stats_of(engine).parked_sessions, 18);
  EXPECT_EQ(stats_of(engine).resident_sessions, 2);
  EXPECT_EQ(stats_of(engine).parked_bytes, 1800);
  std::vector<RequestId> requests;
  for (SessionId id = 1; id <= 20; ++id) requests.push_back(engine.send(turn(id, {7, 8}, 6)));
  engine.run();
  for (SessionId id = 1; id <= 20; ++id) {
    const auto content = joined(content_of(id), {7, 8});
    EXPECT_EQ(engine.ledger.of(requests[id - 1]).tokens(), said_after(content, 6)) << id;
  }
  const EngineStats stats = stats_of(engine);
  EXPECT_EQ(stats.parks, stats.restores + stats.parked_sessions);
  EXPECT_EQ(stats.waiting, 0);
}

TEST_P(Parking, NobodyIsParkedWithoutNeed) {
  ModelledEngine engine = make(3, 5);
  make_sessions(engine, 2);
  engine.run(one_turn({5, 6}, 4));
  engine.run(turn(1, {7}, 3));
  EXPECT_EQ(stats_of(engine).parks, 0);
  // One slot is enough for one more at a time.
  engine.send(one_turn({5, 6}, 40));
  engine.send(one_turn({5, 7}, 4));
  engine.run(20);
  EXPECT_EQ(stats_of(engine).parks, 1);
  engine.run();
}

TEST_P(Parking, TheLeastRecentlyUsedLeavesFirst) {
  ModelledEngine engine = make(3, 5);
  make_sessions(engine, 3);
  engine.run(turn(1, {7}, 2));
  std::vector<std::int32_t> saved;
  engine.launched = [&](const StepPlan& plan) {
    for (const SlotOperation& operation : plan.operations) {
      if (const auto* const save = std::get_if<SaveSlot>(&operation)) saved.push_back(save->slot);
    }
  };
  engine.run(one_turn({5}, 3));
  EXPECT_EQ(saved, std::vector<std::int32_t>{1}) << "session 2 was used before 3 and 1";
}

// A request without a session takes the slot of one that rests, and a session's turn waits its turn behind
// those that came before: a client that is quick does not keep its slot for ever.
TEST_P(Parking, WhoCameFirstIsServedFirst) {
  ModelledEngine engine = make(1, 3);
  make_sessions(engine, 1);
  std::vector<RequestId> order;
  order.push_back(engine.send(turn(1, {7}, 30)));
  order.push_back(engine.send(one_turn({5}, 5)));
  engine.send(OpenSession{.session = 2});
  order.push_back(engine.send(turn(2, {6}, 5)));
  while (engine.ledger.of(order[0]).ends.empty()) ASSERT_TRUE(engine.step());
  order.push_back(engine.send(turn(1, {8}, 5)));
  std::vector<RequestId> ended;
  while (engine.step()) {
    for (const RequestId request : order) {
      if (!engine.ledger.of(request).ends.empty() && std::ranges::find(ended, request) == ended.end()) {
        ended.push_back(request);
      }
    }
  }
  EXPECT_EQ(ended, order);
}

// Where nobody can be parked, a session's turn keeps nobody waiting, and is not refused for a queue that is
// full.
TEST_P(Parking, WhoCannotBeParkedGoesOnAtOnce) {
  SchedulerLimits limits = small_limits(2);
  limits.max_queue = 1;
  ModelledEngine engine(GetParam(), limits);
  make_sessions(engine, 1);
  engine.send(one_turn({5}, 1'000'000));
  engine.run(3);
  const RequestId waiting = engine.send(one_turn({6}, 2));
  engine.run(3);
  const RequestId request = engine.send(turn(1, {7}, 4));
  engine.run(30);
  EXPECT_EQ(engine.ledger.of(request).tokens(), said_after(joined(content_of(1), {7}), 4));
  EXPECT_TRUE(engine.ledger.of(waiting).ends.empty());
}

// The only slot, and no place: what waits would wait for ever, unless the session is closed.
TEST_P(Parking, WhoHoldsTheOnlySlotIsAskedForIt) {
  ModelledEngine engine = make(1, 0);
  make_sessions(engine, 1);
  const RequestId request = engine.send(one_turn({5}, 3));
  engine.run();
  EXPECT_EQ(engine.ledger.slots_wanted(), std::vector<SessionId>{1});
  engine.run(turn(1, {7}, 2));
  EXPECT_EQ(engine.ledger.slots_wanted(), (std::vector<SessionId>{1, 1})) << "once, and again when it rests";
  EXPECT_TRUE(engine.ledger.of(request).ends.empty());
  engine.send(CloseSession{.session = 1});
  engine.run();
  EXPECT_EQ(engine.ledger.of(request).tokens(), said_after({5}, 3));
}

TEST_P(Parking, NobodyIsAskedWhereATurnWillEndOrAPlaceIsFree) {
  ModelledEngine full = make(2, 0);
  make_sessions(full, 1);
  full.send(one_turn({5}, 30));
  full.send(one_turn({6}, 3));
  full.run();
  ModelledEngine roomy = make(1, 1);
  make_sessions(roomy, 1);
  roomy.send(one_turn({5}, 30));
  roomy.run();
  EXPECT_TRUE(full.ledger.slots_wanted().empty());
  EXPECT_TRUE(roomy.ledger.slots_wanted().empty());
}

TEST_P(Parking, ATurnInProgressIsNeverParked) {
  ModelledEngine engine = make(2, 5);
  make_sessions(engine, 2);
  Generate paused = turn(1, {7}, 100);
  paused.credit = 3;
  const RequestId request = engine.send(paused);
  engine.send(turn(2, {7}, 1'000'000));
  engine.run(5);
  const RequestId waiting = engine.send(one_turn({5}, 3));
  engine.run(100);
  EXPECT_EQ(stats_of(engine).parks, 0);
  EXPECT_EQ(stats_of(engine).waiting, 1);
  engine.scheduler.take(Grant{request, 0, kMuchCredit});
  engine.run(300);
  EXPECT_EQ(engine.ledger.of(waiting).ends.size(), 1u) << "the paused one has ended and left";
}

TEST_P(Parking, ChoicesOfAPromptTakeTheSlotsOfThoseThatRest) {
  ModelledEngine engine = make(4, 8);
  make_sessions(engine, 4);
  Generate command = one_turn(counting_tokens(20), 4);
  command.n = 4;
  const std::int64_t before = engine.slots.rows;
  const RequestId request = engine.send(command);
  engine.run();
  for (std::int32_t choice = 0; choice < 4; ++choice) {
    EXPECT_EQ(engine.ledger.of(request, choice).tokens(),
              said_after(counting_tokens(20), 4, static_cast<std::uint64_t>(choice)));
  }
  EXPECT_LE(engine.slots.rows - before, 19 + 4 + 4 * 3 + 4 * GetParam()) << "the prompt is taken in once";
  EXPECT_EQ(stats_of(engine).parked_sessions, 4);
}

// ---- What a session can do while it is parked

TEST_P(Parking, GoesBackWhileItIsParked) {
  for (const std::int64_t to : {29, 25, 21}) {
    ModelledEngine engine = make(1, 3);
    make_sessions(engine, 2);  // the first is parked
    EXPECT_TRUE(engine.ledger.changed(engine.send(RollBackSession{.session = 1, .to = 29})));
    EXPECT_TRUE(engine.ledger.changed(engine.send(RollBackSession{.session = 1, .to = to})));
    EXPECT_EQ(refusal_of(engine, engine.send(RollBackSession{.session = 1, .to = 5})),
              RefusalReason::out_of_reach);
    auto content = content_of(1);
    content.resize(static_cast<std::size_t>(to));
    EXPECT_EQ(engine.run(turn(1, {7, 8}, 5)).tokens(), said_after(joined(content, {7, 8}), 5)) << to;
  }
}

// Into a free slot, and into a place where there is none; from a slot and from a place.
TEST_P(Parking, ForksFromAndToParkingPlaces) {
  for (const bool is_parked : {false, true}) {
    for (const bool has_slot : {false, true}) {
      ModelledEngine engine = make(2, 5);
      make_sessions(engine, is_parked ? 3 : 1);  // 2 and 3 in the slots, or 1
      if (has_slot && is_parked) engine.send(CloseSession{.session = 2});
      std::optional<RequestId> other;
      if (!has_slot && !is_parked) other = engine.send(one_turn({5}, 1'000'000));
      engine.run(3);
      const RequestId fork = engine.send(ForkSession{.session = 9, .from = 1, .at = 27});
      const RequestId next = engine.send(ForkSession{.session = 8, .from = 9, .at = 26});
      engine.run(3);
      ASSERT_TRUE(engine.ledger.changed(fork) && engine.ledger.changed(next));
      EXPECT_EQ(engine.ledger.changed(fork)->usage.seen_tokens, 27);
      if (other) engine.scheduler.take(Cancel{*other});
      auto content = content_of(1);
      EXPECT_EQ(engine.run(turn(1, {4}, 4)).tokens(), said_after(joined(content, {4}), 4));
      content.resize(27);
      EXPECT_EQ(engine.run(turn(9, {5}, 4)).tokens(), said_after(joined(content, {5}), 4));
      content.resize(26);
      EXPECT_EQ(engine.run(turn(8, {6}, 4)).tokens(), said_after(joined(content, {6}), 4));
    }
  }
}

TEST_P(Parking, AStopThatComesLateTakesAParkedSessionBack) {
  ModelledEngine engine = make(1, 3);
  engine.send(OpenSession{.session = 1});
  const auto prompt = counting_tokens(25);
  const Told& told = engine.run(turn(1, prompt, 6));
  const auto said = told.tokens();
  engine.run(one_turn({5}, 2));
  ASSERT_EQ(stats_of(engine).parked_sessions, 1);
  engine.scheduler.take(EndTurn{.request = told.request, .position = 27});
  ASSERT_TRUE(engine.ledger.changed(told.request));
  const auto content = joined(prompt, {said[0], said[1], 7});
  EXPECT_EQ(engine.run(turn(1, {7}, 6)).tokens(), said_after(content, 6));
}

// What it was to take in stays its own, though it never had a slot for it.
TEST_P(Parking, ATurnThatIsCancelledWhileItWaitsLeavesWhatItWasGiven) {
  ModelledEngine engine = make(1, 3);
  make_sessions(engine, 1);
  const RequestId other = engine.send(one_turn({5}, 1'000'000));
  engine.run(5);
  ASSERT_EQ(stats_of(engine).parked_sessions, 1);
  const RequestId request = engine.send(turn(1, {7, 8}, 9));
  EXPECT_EQ(refusal_of(engine, engine.send(turn(1, {9}, 1))), RefusalReason::session_busy);
  EXPECT_EQ(refusal_of(engine, engine.send(RollBackSession{.session = 1, .to = 29})),
            RefusalReason::session_busy);
  engine.scheduler.take(Cancel{request});
  const TurnEnded& end = engine.ledger.of(request).ends.at(0);
  EXPECT_EQ(end.usage.seen_tokens, 30);
  EXPECT_EQ(end.pending, (std::vector<TokenId>{7, 8}));
  engine.scheduler.take(Cancel{other});
  const auto content = joined(content_of(1), {7, 8, 9});
  EXPECT_EQ(engine.run(turn(1, {9}, 4)).tokens(), said_after(content, 4));
}

TEST_P(Parking, ClosingFreesThePlace) {
  ModelledEngine engine = make(1, 2);
  make_sessions(engine, 2);
  EXPECT_EQ(refusal_of(engine, engine.send(OpenSession{.session = 3})), RefusalReason::queue_full);
  EXPECT_EQ(refusal_of(engine, engine.send(ForkSession{.session = 3, .from = 1})), RefusalReason::queue_full);
  EXPECT_EQ(engine.ledger.changed(engine.send(CloseSession{.session = 1}))->usage.seen_tokens, 30);
  EXPECT_FALSE(engine.ledger.refused(engine.send(OpenSession{.session = 3})));
  EXPECT_EQ(engine.run(turn(3, {5}, 3)).tokens(), said_after({5}, 3));
  EXPECT_EQ(engine.run(turn(2, {5}, 3)).tokens(), said_after(joined(content_of(2), {5}), 3));
  EXPECT_EQ(stats_of(engine).parked_sessions, 1);
}

TEST_P(Parking, EverythingEndsWithTheGroup) {
  ModelledEngine engine = make(1, 4);
  make_sessions(engine, 3);
  engine.send(turn(3, {6}, 1'000'000));
  engine.run(4);
  const RequestId waiting = engine.send(turn(1, {5}, 2));
  engine.scheduler.end_all(FinishReason::ending, "bye");
  EXPECT_EQ(engine.ledger.of(waiting).ends.at(0).reason, FinishReason::ending);
  EXPECT_EQ(stats_of(engine).parked_sessions, 0);
  engine.run();
}

// ---- Failures

// No memory for a place on some rank: the session stays in its slot, what waits goes on waiting, and other
// places serve.
TEST_P(Parking, ASaveThatFailsLeavesTheSessionWhereItIs) {
  for (const int places : {1, 2, 3}) {
    ModelledEngine engine = make(2, 3);
    make_sessions(engine, 2);
    let_fail<SaveSlot>(engine, places);
    const RequestId busy = engine.send(turn(2, {6}, 40));
    const RequestId waiting = engine.send(one_turn({5}, 4));
    engine.run();
    EXPECT_EQ(engine.ledger.of(busy).ends.at(0).reason, FinishReason::length);
    EXPECT_EQ(stats_of(engine).parked_sessions, places < 3 ? 1 : 0) << "no place is tried twice";
    EXPECT_EQ(engine.ledger.of(waiting).ends.size(), places < 3 ? 1u : 0u);
    EXPECT_EQ(engine.run(turn(1, {7}, 5)).tokens(), said_after(joined(content_of(1), {7}), 5)) << places;
  }
}

TEST_P(Parking, ARestoreThatFailsEndsThatSessionAlone) {
  ModelledEngine engine = make(1, 4);
  make_sessions(engine, 3);
  let_fail<RestoreSlot>(engine);
  const RequestId request = engine.send(turn(1, {5}, 4));
  const RequestId other = engine.send(turn(2, {6}, 4));
  engine.run();
  EXPECT_EQ(engine.ledger.of(request).ends.at(0).reason, FinishReason::failed);
  EXPECT_EQ(engine.ledger.of(request).ends[0].message, "rank 1: no memory");
  EXPECT_EQ(engine.ledger.of(other).tokens(), said_after(joined(content_of(2), {6}), 4));
  EXPECT_EQ(refusal_of(engine, engine.send(turn(1, {5}, 4))), RefusalReason::unknown_session);
}

TEST_P(Parking, AForkThatFailsIsToldAndItsPlaceIsFree) {
  ModelledEngine engine = make(1, 3);
  make_sessions(engine, 1);
  let_fail<SaveSlot>(engine);
  const RequestId fork = engine.send(ForkSession{.session = 2, .from = 1});
  const RequestId copy = engine.send(ForkSession{.session = 3, .from = 2});
  const RequestId turn_of_copy = engine.send(turn(3, {5}, 2));
  engine.run();
  EXPECT_EQ(refusal_of(engine, fork), RefusalReason::failed);
  EXPECT_EQ(refusal_of(engine, copy), RefusalReason::failed) << "it is a copy of nothing";
  EXPECT_EQ(engine.ledger.of(turn_of_copy).ends.at(0).reason, FinishReason::failed);
  EXPECT_EQ(engine.run(turn(1, {7}, 5)).tokens(), said_after(joined(content_of(1), {7}), 5));
  EXPECT_EQ(stats_of(engine).parked_sessions, 0);
}

}  // namespace
}  // namespace sinkstream
