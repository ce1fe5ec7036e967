// Sessions on a model: what they say is, bit for bit, what one session says that was given the same tokens.
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/worker/engine/engine_group.h"

namespace sinkstream {
namespace {

std::vector<TokenId> text(std::ptrdiff_t tokens) {
  static const auto all = [] {
    std::ifstream in(kEngineTestModel / "reference.json");
    return nlohmann::json::parse(in)["input_ids"].get<std::vector<TokenId>>();
  }();
  return {all.begin(), all.begin() + tokens};
}

std::vector<TokenId> joined(std::vector<TokenId> a, const std::vector<TokenId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Generate lively_turn(std::vector<TokenId> prompt, std::int64_t max_tokens) {
  Generate command = one_turn(std::move(prompt), max_tokens);
  command.params.sampling.temperature = 0.8f;
  command.params.sampling.seed = 5;
  command.params.logprobs = true;
  command.params.top_logprobs = 2;
  return command;
}

Generate turn_of(SessionId session, std::vector<TokenId> prompt, std::int64_t max_tokens) {
  Generate command = lively_turn(std::move(prompt), max_tokens);
  command.session = session;
  return command;
}

void expect_same(const Told& told, const Told& alone) {
  ASSERT_EQ(told.events.size(), alone.events.size());
  for (std::size_t i = 0; i < told.events.size(); ++i) {
    const TokenEvent& a = told.events[i];
    const TokenEvent& b = alone.events[i];
    ASSERT_EQ(a.token, b.token) << i;
    ASSERT_EQ(a.position, b.position) << i;
    ASSERT_EQ(a.logprob, b.logprob) << i;
    ASSERT_EQ(a.top.size(), b.top.size()) << i;
    for (std::size_t k = 0; k < a.top.size(); ++k) ASSERT_EQ(a.top[k].logprob, b.top[k].logprob) << i;
  }
  ASSERT_EQ(told.ends.size(), 1u);
  EXPECT_EQ(told.ends[0].reason, alone.ends.at(0).reason);
  EXPECT_EQ(told.ends[0].usage, alone.ends[0].usage);
}

struct Mode {
  std::string name;
  CacheWindow window;
  bool dense;
};
const std::vector<Mode> kModes = {
    {"sink", {4, 28}, false}, {"window", {0, 28}, false}, {"dense", {0, 200}, true}};

// With three ranks or eight, KV heads are on several.
class EngineSessions : public testing::TestWithParam<std::tuple<Mode, int, std::string>> {
 protected:
  GroupOptions options(std::int32_t slots = 4) const {
    const auto& [mode, ranks, backend] = GetParam();
    return {.ranks = ranks, .slots = slots, .window = mode.window, .dense = mode.dense, .backend = backend};
  }
};

INSTANTIATE_TEST_SUITE_P(Groups, EngineSessions,
                         testing::Combine(testing::ValuesIn(kModes), testing::Values(1, 3, 8),
                                          testing::Values("cpu", "awkward")),
                         [](const auto& test) {
                           return std::get<0>(test.param).name + std::to_string(std::get<1>(test.param)) +
                                  std::get<2>(test.param);
                         });

TEST_P(EngineSessions, SixteenChoicesOfALongPromptAreSixteenRequestsAlone) {
  for (const std::ptrdiff_t length : {5, 120}) {
    TestGroup group(options(5));
    Generate command = lively_turn(text(length), 12);
    std::vector<RequestId> alone;
    for (std::uint64_t i = 0; i < 16; ++i) {
      command.params.sampling.seed = 40 + i;
      alone.push_back(group.send(command));
    }
    for (const RequestId request : alone) group.ledger->wait_for_end(request);
    const std::int64_t before = group.engine->stats().prompt_tokens;
    command.params.sampling.seed = 40;
    command.n = 16;
    const RequestId request = group.send(command);
    for (std::int32_t choice = 0; choice < 16; ++choice) group.ledger->wait_for_end(request, choice);
    EXPECT_EQ(group.engine->stats().prompt_tokens - before, length - 1 + 16) << "taken in once";
    for (std::int32_t choice = 0; choice < 16; ++choice) {
      SCOPED_TRACE(choice);
      expect_same(group.ledger->of(request, choice),
                  group.ledger->of(alone[static_cast<std::size_t>(choice)]));
    }
  }
}

TEST_P(EngineSessions, ManyTurnsAreOne) {
  TestGroup group(options());
  group.ledger->wait_for_change(group.send(OpenSession{.session = 1}));
  std::vector<TokenId> content;
  for (const std::ptrdiff_t given : {3, 1, 30, 70}) {
    const auto prompt = text(given);
    content = joined(content, prompt);
    const Told& told = group.run(turn_of(1, prompt, 9));
    expect_same(told, group.run(lively_turn(content, 9)));
    content = joined(content, told.tokens());
  }
  const SessionChanged closed = group.ledger->wait_for_change(group.send(CloseSession{.session = 1}));
  EXPECT_EQ(closed.usage.seen_tokens, std::ssize(content) - 1);
  EXPECT_EQ(closed.pending, std::vector<TokenId>{content.back()});
}

TEST_P(EngineSessions, WhoGoesBackWasNeverFurther) {
  TestGroup group(options());
  const auto prompt = text(60);
  for (const std::int64_t to : {60, 53, 46, 44}) {  // the slack is 16
    group.ledger->wait_for_change(group.send(OpenSession{.session = 1}));
    group.run(turn_of(1, prompt, 0));
    group.ledger->wait_for_change(group.send(RollBackSession{.session = 1, .to = to}));
    const auto content = joined(text(to), {7, 8, 9});
    expect_same(group.run(turn_of(1, {7, 8, 9}, 8)), group.run(lively_turn(content, 8)));
    group.send(CloseSession{.session = 1});
  }
}

// From what its state depends on, and no more; also after it has gone back as far as it was made for.
TEST_P(EngineSessions, WhoIsMadeAnewHadAlwaysBeenThere) {
  TestGroup group(options());
  const auto& [mode, ranks, backend] = GetParam();
  const SessionShape& shape = group.engine->limits().session;
  for (const std::ptrdiff_t length : {3, 29, 90, 126}) {
    for (const std::int64_t reach : {1, 9}) {
      SCOPED_TRACE(std::to_string(length) + " tokens, " + std::to_string(reach) + " to take back");
      const auto content = text(length);
      const std::int64_t begin = replay_begin(length, reach, shape.window, shape.num_layers);
      EXPECT_TRUE(mode.dense || length < 126 || begin > shape.window.sink_tokens) << "something is left out";
      const auto sinks = std::min<std::ptrdiff_t>(shape.window.sink_tokens, length);
      const Past past{text(sinks), begin, std::vector<TokenId>(content.begin() + begin, content.end())};
      group.ledger->wait_for_change(group.send(OpenSession{.session = 1, .window = {}, .past = past}));
      expect_same(group.run(turn_of(1, {7, 8}, 4)), group.run(lively_turn(joined(content, {7, 8}), 4)));
      const std::int64_t to = std::max<std::int64_t>(1, length - reach);
      group.ledger->wait_for_change(group.send(RollBackSession{.session = 1, .to = to}));
      expect_same(group.run(turn_of(1, {9}, 8)), group.run(lively_turn(joined(text(to), {9}), 8)));
      group.ledger->wait_for_change(group.send(CloseSession{.session = 1}));
    }
  }
}

// A stop string is found when the engine is further; a fork goes on from the middle of what was said.
TEST_P(EngineSessions, StopsAndForksLeaveWhatWasTold) {
  TestGroup group(options());
  group.ledger->wait_for_change(group.send(OpenSession{.session = 1}));
  Generate command = turn_of(1, text(40), 60);
  command.credit = 7;
  const RequestId request = group.send(command);
  const Told& told = group.ledger->of(request);
  while (group.engine->stats().generated_tokens < 7) std::this_thread::yield();
  group.engine->send(EndTurn{.request = request, .position = 43});
  EXPECT_EQ(group.ledger->wait_for_end(request).usage.seen_tokens, 43);
  ASSERT_EQ(told.events.size(), 7u);
  const auto said = told.tokens();
  const std::vector<TokenId> kept(said.begin(), said.begin() + 3);
  group.ledger->wait_for_change(group.send(ForkSession{.session = 2, .from = 1, .at = 42}));
  const auto content = joined(text(40), joined(kept, {9}));
  expect_same(group.run(turn_of(1, {9}, 8)), group.run(lively_turn(content, 8)));
  const auto forked = joined(text(40), {kept[0], kept[1], 11, 12});
  expect_same(group.run(turn_of(2, {11, 12}, 8)), group.run(lively_turn(forked, 8)));
}

// Five sessions on two slots, by turns, and requests between them. What a session has in its ring when it is
// parked: little, all but a place, all, more than once around; and more than it has seen, where it went back.
TEST_P(EngineSessions, ParkedSessionsGoOnAsIfTheyHadStayed) {
  for (const auto ring : {kernels::CacheType::f32, kernels::CacheType::bf16, kernels::CacheType::int8}) {
    GroupOptions small = options(2);
    small.places = 6;
    small.ring = ring;
    TestGroup group(small);
    const std::vector<std::ptrdiff_t> lengths = {3, 27, 44, 90, 43};
    std::vector<std::vector<TokenId>> content;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      const SessionId id = i + 1;
      content.push_back(text(lengths[i]));
      group.ledger->wait_for_change(group.send(OpenSession{.session = id}));
      group.run(turn_of(id, content[i], 0));
    }
    for (int round = 0; round < 3; ++round) {
      for (std::size_t i = 0; i < content.size(); ++i) {
        SCOPED_TRACE(std::to_string(i) + " in round " + std::to_string(round));
        const SessionId id = i + 1;
        if (round == 1) {  // of a parked session, which had a pending token
          const auto to = std::ssize(content[i]) - 3;
          group.ledger->wait_for_change(group.send(RollBackSession{.session = id, .to = to}));
          content[i].resize(static_cast<std::size_t>(to));
        }
        const std::vector<TokenId> given = {5, static_cast<TokenId>(7 + round)};
        content[i] = joined(content[i], given);
        const Told& told = group.run(turn_of(id, given, 4));
        expect_same(told, group.run(lively_turn(content[i], 4)));
        content[i] = joined(content[i], told.tokens());
      }
    }
    group.ledger->wait_for_change(group.send(ForkSession{.session = 9, .from = 2}));  // of a parked one
    expect_same(group.run(turn_of(9, {4}, 4)), group.run(lively_turn(joined(content[1], {4}), 4)));
    expect_same(group.run(turn_of(2, {6}, 4)), group.run(lively_turn(joined(content[1], {6}), 4)));
    const EngineStats stats = group.engine->stats();
    EXPECT_GT(stats.restores, 12);
    EXPECT_GE(stats.parked_sessions, 4);
  }
}

// One rank of three has no memory for one turn: that session ends, with the rank's words, and nobody else.
TEST(EngineOperations, OneThatFailsOnOneRankEndsItsSessionAlone) {
  std::atomic<int> turns = 0;
  GroupOptions options{.ranks = 3, .slots = 3, .backend = "awkward"};
  options.before_turn = [&](int rank) {
    if (rank == 1 && ++turns == 3) throw std::runtime_error("no memory for the turn");
  };
  TestGroup group(options);
  std::vector<RequestId> requests;
  for (int i = 0; i < 6; ++i) requests.push_back(group.send(lively_turn(text(20 + i), 10)));
  for (const RequestId request : requests) group.ledger->wait_for_end(request);
  int failed = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const Told& told = group.ledger->of(requests[i]);
    if (told.ends.at(0).reason != FinishReason::failed) {
      expect_same(told, group.run(lively_turn(text(20 + static_cast<std::ptrdiff_t>(i)), 10)));
      continue;
    }
    ++failed;
    EXPECT_EQ(told.ends[0].message, "rank 1: no memory for the turn");
    EXPECT_TRUE(told.events.empty());
  }
  EXPECT_EQ(failed, 1);
  for (int i = 0; i < 3; ++i) group.run(lively_turn(text(9), 1));  // in each of the three slots
}

TEST(EngineOperations, NothingIsTakenInOnceTheGroupHasFailed) {
  GroupOptions options{.backend = "awkward"};
  options.before_turn = [](int) { throw GroupEnded("a rank is gone"); };
  TestGroup* group = nullptr;
  RequestId refused = 0;
  std::latch has_ended(1);
  options.group_ended = [&] {
    refused = group->send(lively_turn(text(3), 1));
    has_ended.count_down();
  };
  TestGroup failing(options);
  group = &failing;
  failing.send(lively_turn(text(9), 1));
  has_ended.wait();
  ASSERT_TRUE(failing.ledger->refused(refused));
  EXPECT_EQ(failing.ledger->refused(refused)->reason, RefusalReason::ending);
}

// The same for a copy: of five choices one ends, and a fork is refused while its source goes on.
TEST(EngineOperations, ACopyThatFailsOnOneRankEndsItsSessionAlone) {
  std::atomic<bool> fails = true;
  GroupOptions options{.ranks = 3, .slots = 3, .backend = "awkward"};
  options.before_copy = [&](int rank) {
    if (rank == 2 && fails.exchange(false)) throw std::runtime_error("no memory for the copy");
  };
  TestGroup group(options);
  Generate command = lively_turn(text(30), 10);
  command.n = 5;
  const RequestId request = group.send(command);
  int failed = 0;
  for (std::int32_t choice = 0; choice < 5; ++choice) {
    const TurnEnded end = group.ledger->wait_for_end(request, choice);
    if (end.reason != FinishReason::failed) {
      Generate alone = lively_turn(text(30), 10);
      alone.params.sampling.seed += static_cast<std::uint64_t>(choice);
      expect_same(group.ledger->of(request, choice), group.run(alone));
      continue;
    }
    ++failed;
    EXPECT_EQ(end.message, "rank 2: no memory for the copy");
  }
  EXPECT_EQ(failed, 1);

  group.ledger->wait_for_change(group.send(OpenSession{.session = 1}));
  group.run(turn_of(1, text(20), 0));
  fails = true;
  const RequestId fork = group.send(ForkSession{.session = 2, .from = 1});
  EXPECT_EQ(group.ledger->wait_for_refusal(fork).reason, RefusalReason::failed);
  group.ledger->wait_for_change(group.send(ForkSession{.session = 2, .from = 1}));
  expect_same(group.run(turn_of(2, {5}, 6)), group.run(lively_turn(joined(text(20), {5}), 6)));
  expect_same(group.run(turn_of(1, {6}, 6)), group.run(lively_turn(joined(text(20), {6}), 6)));
}

// One rank of three has no memory for a parking place: the session stays where it is.
TEST(EngineOperations, ASaveThatFailsOnOneRankCostsNoSession) {
  std::atomic<bool> fails = true;
  GroupOptions options{.ranks = 3, .slots = 1, .places = 2, .backend = "awkward"};
  options.before_place = [&](int rank) {
    if (rank == 2 && fails.exchange(false)) throw std::runtime_error("no memory for the place");
  };
  TestGroup group(options);
  group.ledger->wait_for_change(group.send(OpenSession{.session = 1}));
  group.run(turn_of(1, text(40), 0));
  expect_same(group.run(lively_turn(text(9), 4)),
              group.run(lively_turn(text(9), 4)));  // takes the other place
  EXPECT_FALSE(fails);
  expect_same(group.run(turn_of(1, {5}, 6)), group.run(lively_turn(joined(text(40), {5}), 6)));
  EXPECT_GE(group.engine->stats().restores, 1);
}

TEST(EngineOperations, ARestoreThatFailsOnOneRankEndsItsSessionAlone) {
  std::atomic<bool> fails = false;
  GroupOptions options{.ranks = 3, .slots = 1, .places = 4, .backend = "awkward"};
  options.before_copy = [&](int rank) {
    if (rank == 1 && fails.exchange(false)) throw std::runtime_error("no such luck");
  };
  TestGroup group(options);
  for (const SessionId id : {1, 2}) {
    group.ledger->wait_for_change(group.send(OpenSession{.session = id}));
    group.run(turn_of(id, text(40), 0));
  }
  group.run(lively_turn(text(9), 4));  // both are parked
  fails = true;
  const RequestId failed = group.send(turn_of(1, {5}, 6));
  EXPECT_EQ(group.ledger->wait_for_end(failed).reason, FinishReason::failed);
  EXPECT_EQ(group.ledger->of(failed).ends[0].message, "rank 1: no such luck");
  expect_same(group.run(turn_of(2, {5}, 6)), group.run(lively_turn(joined(text(40), {5}), 6)));
  EXPECT_EQ(group.ledger->wait_for_refusal(group.send(turn_of(1, {5}, 6))).reason,
            RefusalReason::unknown_session);
}

}  // namespace
}  // namespace sinkstream
