// Sessions that are saved in files and taken up from there: what they say is what they would have said.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/worker/engine/modelled_engine.h"
#include "worker/engine/plan_limits.h"

namespace sinkstream {
namespace {

// Of a session's tokens, as little as it needs to go back by `reach`.
Past past_of(const std::vector<TokenId>& content, std::int64_t reach = 9) {
  const SessionShape shape = small_limits().session;
  const std::int64_t begin = replay_begin(std::ssize(content), reach, shape.window, shape.num_layers);
  const auto sinks = std::min<std::int64_t>(shape.window.sink_tokens, std::ssize(content));
  return {std::vector<TokenId>(content.begin(), content.begin() + sinks), begin,
          std::vector<TokenId>(content.begin() + begin, content.end())};
}

class Snapshots : public testing::TestWithParam<int> {
 protected:
  ModelledEngine engine{GetParam(), small_limits(2, 2)};
  static constexpr SnapshotName kName{.session = 7, .save = 3};

  Generate turn(std::vector<TokenId> prompt, std::int64_t max_tokens) {
    Generate command = one_turn(std::move(prompt), max_tokens);
    command.session = 1;
    return command;
  }
  RequestId save(std::int64_t tokens) {
    return engine.send(SaveSession{.session = 1, .tokens = tokens, .name = kName});
  }
  // A session that has seen so many tokens, is saved, and has left the engine.
  std::vector<TokenId> save_one(std::int64_t tokens) {
    const auto content = counting_tokens(tokens);
    engine.send(OpenSession{.session = 1, .window = {}});
    engine.run(turn(content, 0));
    const RequestId saved = save(tokens);
    engine.run();
    EXPECT_TRUE(engine.ledger.changed(saved));
    engine.send(CloseSession{.session = 1});
    engine.run();
    return content;
  }
  void open(const std::vector<TokenId>& content) {
    engine.send(
        OpenSession{.session = 1, .window = {}, .past = past_of(content), .snapshots = {{7, 2}, kName}});
  }
  EngineStats stats() const {
    EngineStats stats;
    engine.scheduler.add_counts(stats);
    return stats;
  }
};

INSTANTIATE_TEST_SUITE_P(Depths, Snapshots, testing::Values(1, 2, 3),
                         [](const auto& test) { return std::to_string(test.param); });

TEST_P(Snapshots, AreTakenUpAndTakeInOnlyWhatCameLater) {
  const auto content = joined(save_one(50), counting_tokens(6, 300));
  open(content);
  EXPECT_EQ(engine.run(turn({8}, 5)).tokens(), said_after(joined(content, {8}), 5));
  EXPECT_EQ(stats().replayed_tokens, 6);
  EXPECT_EQ(stats().snapshots_taken_up, 1);
}

TEST_P(Snapshots, OfMoreTokensThanTheSessionHasGoBack) {
  save_one(50);
  const auto content = counting_tokens(44);  // what came later was lost
  open(content);
  EXPECT_EQ(engine.run(turn({8}, 5)).tokens(), said_after(joined(content, {8}), 5));
  EXPECT_EQ(stats().replayed_tokens, 0);
}

TEST_P(Snapshots, OutOfReachAreNotUsed) {
  save_one(50);
  const auto content = counting_tokens(30);
  open(content);
  EXPECT_EQ(engine.run(turn({8}, 5)).tokens(), said_after(joined(content, {8}), 5));
  EXPECT_EQ(stats().snapshots_taken_up, 0);
}

TEST_P(Snapshots, OfAnotherNameAreNotUsed) {
  const auto content = save_one(50);
  engine.send(
      OpenSession{.session = 1, .window = {}, .past = past_of(content), .snapshots = {{7, 2}, {7, 4}}});
  EXPECT_EQ(engine.run(turn({8}, 5)).tokens(), said_after(joined(content, {8}), 5));
  EXPECT_EQ(stats().snapshots_taken_up, 0);
}

TEST_P(Snapshots, TellWhatWasTakenInAnewInstead) {
  const auto content = joined(save_one(50), counting_tokens(6, 300));
  open(content);
  EXPECT_EQ(engine.run(turn({8}, 5)).ends.at(0).replayed_tokens, 6);
  EXPECT_EQ(engine.run(turn({8}, 5)).ends.at(0).replayed_tokens, 0);
  engine.send(CloseSession{.session = 1});
  engine.send(OpenSession{.session = 1, .window = {}, .past = past_of(content)});
  const std::int64_t replayed = engine.run(turn({8}, 5)).ends.at(0).replayed_tokens;
  EXPECT_EQ(replayed, stats().replayed_tokens - 6);
  EXPECT_GT(replayed, 20);
}

// As where the session never left: the first token of the prompt has no log-probability.
TEST_P(Snapshots, ThatEndWhereAScoredPromptBeginsTellAllOfIt) {
  const auto content = save_one(50);
  open(content);
  Generate scored = turn({8, 9, 10}, 1);
  scored.params.prompt_logprobs = true;
  const Told& told = engine.run(scored);
  ASSERT_EQ(told.events.size(), 4u);
  for (std::int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(told.events[static_cast<std::size_t>(i)].position, 50 + i);
    EXPECT_EQ(told.events[static_cast<std::size_t>(i)].token, 8 + i);
  }
}

// What waits to be saved is what it was when it was asked for, or nothing.
TEST_P(Snapshots, ThatWaitAreNotOfWhatCameInsteadMeanwhile) {
  engine.send(OpenSession{.session = 1, .window = {}});
  engine.run(turn(counting_tokens(50), 0));
  engine.send(OpenSession{.session = 2, .window = {}});
  Generate other = turn(counting_tokens(30), 0);
  other.session = 2;
  engine.run(other);
  bool is_done = false;
  engine.slots.look_at_job = [&](std::uint64_t) {
    return is_done ? ModelledSlots::Job::done : ModelledSlots::Job::unfinished;
  };
  engine.send(SaveSession{.session = 2, .tokens = 30, .name = {8, 1}});
  const RequestId waits = save(50);
  engine.send(RollBackSession{.session = 1, .to = 48});
  const RequestId turned = engine.send(turn({400, 401}, 0));
  engine.run(40);
  ASSERT_EQ(engine.ledger.of(turned).ends.size(), 1u);
  is_done = true;
  engine.run();
  ASSERT_TRUE(engine.ledger.refused(waits));
  EXPECT_EQ(engine.ledger.refused(waits)->reason, RefusalReason::not_as_expected);
}

TEST_P(Snapshots, ThatCannotBeReadCostTimeAndNoMore) {
  const auto content = save_one(50);
  engine.slots.look_at_job = [](std::uint64_t) { return ModelledSlots::Job::failed; };
  open(content);
  EXPECT_EQ(engine.run(turn({8}, 5)).tokens(), said_after(joined(content, {8}), 5));
  EXPECT_GT(stats().replayed_tokens, 0);
  EXPECT_EQ(stats().snapshots_failed, 1);
  EXPECT_EQ(engine.slots.num_files(), 0u) << "it is removed everywhere";
}

TEST_P(Snapshots, ThatCannotBeWrittenAreRefusedAndLeaveNothing) {
  const auto content = counting_tokens(50);
  engine.send(OpenSession{.session = 1, .window = {}});
  engine.run(turn(content, 0));
  engine.slots.look_at_job = [](std::uint64_t) { return ModelledSlots::Job::failed; };
  const RequestId saved = save(50);
  engine.run();
  ASSERT_TRUE(engine.ledger.refused(saved));
  EXPECT_EQ(engine.ledger.refused(saved)->reason, RefusalReason::failed);
  EXPECT_EQ(engine.slots.num_files(), 0u);
  EXPECT_EQ(engine.run(turn({8}, 5)).tokens(), said_after(joined(content, {8}), 5)) << "it goes on";
  engine.slots.look_at_job = [](std::uint64_t) { return ModelledSlots::Job::done; };
  const RequestId again = save(56);
  engine.run();
  EXPECT_TRUE(engine.ledger.changed(again));
}

// The state is that of the moment of the command, whatever the session does meanwhile.
TEST_P(Snapshots, AreOfTheMomentWhenTheyAreAskedFor) {
  const auto content = counting_tokens(50);
  engine.send(OpenSession{.session = 1, .window = {}});
  engine.run(turn(content, 0));
  bool is_done = false;
  engine.slots.look_at_job = [&](std::uint64_t) {
    return is_done ? ModelledSlots::Job::done : ModelledSlots::Job::unfinished;
  };
  const RequestId saved = save(50);
  const RequestId next = engine.send(turn({8}, 5));
  engine.run(40);
  EXPECT_EQ(engine.ledger.of(next).tokens(), said_after(joined(content, {8}), 5))
      << "nothing waits for files";
  EXPECT_FALSE(engine.ledger.changed(saved));
  is_done = true;
  engine.run();
  EXPECT_EQ(engine.ledger.changed(saved)->usage.seen_tokens, 50);
  engine.send(CloseSession{.session = 1});
  open(content);
  EXPECT_EQ(engine.run(turn({9}, 5)).tokens(), said_after(joined(content, {9}), 5));
}

TEST_P(Snapshots, AreNotOfSessionsInATurnOrOfOtherLengths) {
  engine.send(OpenSession{.session = 1, .window = {}});
  EXPECT_EQ(engine.ledger.refused(save(0))->reason, RefusalReason::invalid);
  engine.run(turn(counting_tokens(10), 0));
  EXPECT_EQ(engine.ledger.refused(save(9))->reason, RefusalReason::not_as_expected);
  engine.send(turn({}, 0));
  engine.send(turn({5}, 100));
  EXPECT_EQ(engine.ledger.refused(save(10))->reason, RefusalReason::session_busy);
}

// Whoever waits for a file holds up nobody.
TEST_P(Snapshots, OthersGoOnWhileOneIsRead) {
  const auto content = save_one(50);
  engine.slots.look_at_job = [](std::uint64_t) { return ModelledSlots::Job::unfinished; };
  open(content);
  const RequestId waits = engine.send(turn({8}, 5));
  const RequestId other = engine.send(one_turn(counting_tokens(20), 5));
  engine.run(30);
  EXPECT_EQ(engine.ledger.of(other).tokens(), said_after(counting_tokens(20), 5));
  EXPECT_TRUE(engine.ledger.of(waits).events.empty());
  engine.scheduler.take(Cancel{waits});
  ASSERT_EQ(engine.ledger.of(waits).ends.size(), 1u);
  EXPECT_EQ(engine.ledger.of(waits).ends[0].pending, std::vector<TokenId>{8});
  engine.slots.look_at_job = [](std::uint64_t) { return ModelledSlots::Job::done; };
  EXPECT_EQ(engine.run(turn({9}, 5)).tokens(), said_after(joined(content, {8, 9}), 5));
  EXPECT_EQ(stats().snapshots_taken_up, 1) << "what was read for the first turn serves the next";
}

TEST_P(Snapshots, GoWhenTheirSessionsDo) {
  save_one(50);
  engine.scheduler.take(KeepSnapshots{.sessions = {6, 7, 8}});
  engine.run();
  EXPECT_EQ(engine.slots.num_files(), 1u);
  engine.scheduler.take(DropSnapshot{.session = 6});
  engine.run();
  EXPECT_EQ(engine.slots.num_files(), 1u);
  engine.scheduler.take(DropSnapshot{.session = 7});
  engine.run();
  EXPECT_EQ(engine.slots.num_files(), 0u);
  save_one(50);
  engine.scheduler.take(KeepSnapshots{.sessions = {6, 8}});
  engine.run();
  EXPECT_EQ(engine.slots.num_files(), 0u);
}

TEST_P(Snapshots, ThatAreUnderWayAreRefusedWhenAllEnds) {
  engine.send(OpenSession{.session = 1, .window = {}});
  engine.run(turn(counting_tokens(50), 0));
  engine.slots.look_at_job = [](std::uint64_t) { return ModelledSlots::Job::unfinished; };
  const RequestId first = save(50), second = save(50);
  engine.run(10);
  engine.scheduler.end_all(FinishReason::ending, "the end");
  EXPECT_EQ(engine.ledger.refused(first)->reason, RefusalReason::ending);
  EXPECT_EQ(engine.ledger.refused(second)->reason, RefusalReason::ending);
}

// Sessions that go on, go back, are saved, leave and come back in any order, with jobs that take their time
// and fail, and with hosts that fail: then a session is what it was when it was last on disk, whatever was
// saved since. Names are as the coordinator has them.
class RandomSnapshots {
 public:
  RandomSnapshots(int depth, unsigned seed)
      : random_(seed), engine_(depth, small_limits(1 + below(3), below(4))) {
    engine_.slots.look_at_job = [this](std::uint64_t job) {
      const auto known = outcomes_.find(job);
      if (known != outcomes_.end() && known->second != ModelledSlots::Job::unfinished) return known->second;
      const int draw = below(8);
      return outcomes_[job] = draw < 4   ? ModelledSlots::Job::unfinished
                              : draw < 7 ? ModelledSlots::Job::done
                                         : ModelledSlots::Job::failed;
    };
  }

  void run(int commands) {
    for (int i = 0; i < commands && !testing::Test::HasFailure(); ++i) {
      command(1 + static_cast<SessionId>(below(4)));
      if (below(3) > 0) engine_.run(below(12));
    }
    engine_.run();
    EngineStats stats;
    engine_.scheduler.add_counts(stats);
    taken_up = stats.snapshots_taken_up;
    failed = stats.snapshots_failed;
  }

  std::int64_t taken_up = 0, failed = 0;

 private:
  struct Kept {
    SessionId id = kNoSession;  // in the engine
    struct State {
      std::vector<TokenId> content;
      std::vector<std::pair<std::uint64_t, std::int64_t>> saved;  // the newest two: names, and their tokens
    };
    State now, on_disk;
  };

  int below(int bound) { return static_cast<int>(random_() % static_cast<unsigned>(bound)); }

  void command(std::uint64_t number) {
    Kept& kept = kept_[number];
    do_something(number, kept);
    if (below(2) == 0) kept.on_disk = kept.now;
  }
  void do_something(std::uint64_t number, Kept& kept) {
    if (kept.id == kNoSession) return open(number, kept);
    switch (below(7)) {
      case 0:
      case 1:
        return go_on(kept);
      case 2:
        return save(number, kept);
      case 3:
        return go_back(kept);
      case 4:
        kept.now = kept.on_disk;
        [[fallthrough]];
      default:
        engine_.send(CloseSession{.session = kept.id});
        kept.id = kNoSession;
    }
  }
  void open(std::uint64_t number, Kept& kept) {
    kept.id = next_++;
    OpenSession open{.session = kept.id, .window = {}, .past = past_of(kept.now.content)};
    for (const auto& [save, tokens] : kept.now.saved) open.snapshots.push_back({number, save});
    const RequestId request = engine_.send(open);
    if (engine_.ledger.refused(request)) kept.id = kNoSession;
  }
  void go_on(Kept& kept) {
    Generate command = one_turn(counting_tokens(1 + below(20), 10 + below(90)), below(6));
    command.session = kept.id;
    const auto input = joined(kept.now.content, command.prompts[0].list());
    const bool is_cancelled = below(6) == 0;
    const RequestId request = engine_.send(std::move(command));
    if (engine_.ledger.refused(request)) return;
    engine_.run(is_cancelled ? below(6) : 10'000);
    if (is_cancelled) engine_.scheduler.take(Cancel{request});
    const Told& told = engine_.ledger.of(request);
    ASSERT_EQ(told.ends.size(), 1u);
    EXPECT_EQ(told.tokens(), said_after(input, told.tokens().size()));
    kept.now.content = joined(input, told.tokens());
    EXPECT_EQ(told.ends[0].usage.seen_tokens + std::ssize(told.ends[0].pending),
              std::ssize(kept.now.content));
  }
  void save(std::uint64_t number, Kept& kept) {
    auto& saved = kept.now.saved;
    saved.insert(saved.begin(), {++saves_, std::ssize(kept.now.content)});
    saved.resize(std::min<std::size_t>(saved.size(), 2));
    engine_.send(
        SaveSession{.session = kept.id, .tokens = std::ssize(kept.now.content), .name = {number, saves_}});
  }
  void go_back(Kept& kept) {
    const std::int64_t to = below(static_cast<int>(kept.now.content.size()) + 1);
    const RequestId request = engine_.send(RollBackSession{.session = kept.id, .to = to});
    if (!engine_.ledger.changed(request)) return;
    kept.now.content.resize(static_cast<std::size_t>(to));
    std::erase_if(kept.now.saved, [&](const auto& state) { return state.second > to; });
  }

  std::mt19937 random_;
  ModelledEngine engine_;
  std::map<std::uint64_t, ModelledSlots::Job> outcomes_;
  std::map<std::uint64_t, Kept> kept_;
  SessionId next_ = 1;
  std::uint64_t saves_ = 0;
};

class RandomSnapshotsTest : public testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Depths, RandomSnapshotsTest, testing::Values(1, 2, 3),
                         [](const auto& test) { return std::to_string(test.param); });

TEST_P(RandomSnapshotsTest, SayWhatSessionsSayThatWereAlwaysThere) {
  const char* const many = std::getenv("SEEDS");
  const unsigned seeds = many ? static_cast<unsigned>(std::atoi(many)) : 30;
  std::int64_t taken_up = 0, failed = 0;
  for (unsigned seed = 0; seed < seeds && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomSnapshots random(GetParam(), seed);
    random.run(120);
    taken_up += random.taken_up;
    failed += random.failed;
  }
  EXPECT_GT(taken_up, seeds / 2);
  EXPECT_GT(failed, seeds / 2);
}

TEST(SnapshotLimits, RanksWithoutADirectoryTakeNone) {
  PlanLimits limits{.num_slots = 1, .num_places = 2, .max_rows = 8, .vocab_size = 100};
  limits.session = small_limits().session;
  const SaveSession save{.session = 1, .tokens = 5, .name = {}};
  EXPECT_TRUE(refusal(save, limits));
  StepPlan plan;
  plan.operations = {AskJob{1}};
  EXPECT_THROW(decode(encode(plan), limits), std::runtime_error);
  limits.has_snapshots = true;
  EXPECT_FALSE(refusal(save, limits));
  EXPECT_NO_THROW(decode(encode(plan), limits));
  const auto reads = [&](const Snapshot& snapshot) {
    plan.operations = {ReadSnapshot{1, snapshot}};
    return decode(encode(plan), limits);
  };
  EXPECT_NO_THROW(reads({.window = {2, 10}, .seen = 5, .written = 6}));
  EXPECT_THROW(reads({.window = {2, 10}, .seen = 7, .written = 6}), std::runtime_error);
  EXPECT_THROW(reads({.window = {2, 11}, .seen = 5, .written = 6}), std::runtime_error);
}

}  // namespace
}  // namespace sinkstream
