// Commands of every kind in any order at any moment, late credit and operations that fail: what must hold
// whatever happens.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>

#include "tests/worker/engine/modelled_engine.h"

namespace sinkstream {
namespace {

class RandomCommands {
 public:
  RandomCommands(int depth, unsigned seed)
      : random_(seed),
        slots_(1 + below(4)),
        places_(std::max(0, below(9) - 2)),
        engine_(depth, small_limits(slots_, places_)) {
    engine_.launched = [this](const StepPlan& plan) { look_at(plan); };
  }

  void run(int commands) {
    for (int i = 0; i < commands && !testing::Test::HasFailure(); ++i) {
      command();
      expect_counts();
      engine_.run(below(6) == 0 ? 40 : below(4));
      check_choices();
      settle();
    }
    finish();
  }

  // Of the whole run.
  std::int64_t parks = 0, restores = 0;

 private:
  struct Asked {
    Generate command;
    std::vector<TokenId> content;       // of its session before
    std::vector<std::int64_t> granted;  // by choice
    bool cancelled = false, may_fail = false;
    std::vector<std::size_t> told_at_end;  // events, by choice; as soon as its end was seen
    std::set<std::int32_t> stopped;
  };
  struct Kept {
    std::vector<TokenId> content;
    RequestId request = 0;  // of its turn
  };
  struct Fork {
    SessionId id = kNoSession;
    std::vector<TokenId> content;
  };

  int below(int bound) { return static_cast<int>(random_() % static_cast<unsigned>(bound)); }
  template <typename Map>
  typename Map::iterator any_of(Map& map) {
    auto it = map.begin();
    std::advance(it, below(static_cast<int>(map.size())));
    return it;
  }

  void command() {
    switch (below(16)) {
      case 0:
      case 1:
        return ask();
      case 2:
      case 3:
        return grant();
      case 4:
        return cancel();
      case 5:
        return stop();
      case 6:
        return open();
      case 7:
      case 8:
        return begin();
      case 9:
        return go_back();
      case 10:
        return fork();
      case 11:
      case 12:
        return open();
      case 13:
      case 14:
        return begin();
      default:
        return below(3) == 0 ? close() : fail_next();
    }
  }

  // ---- Turns

  Generate random_turn() {
    Generate command = one_turn(counting_tokens(1 + below(25), 10 + below(90)), below(9));
    command.params.prompt_logprobs = below(4) == 0;
    command.params.sampling.seed = static_cast<std::uint64_t>(below(1000));
    command.credit = below(3) == 0 ? below(6) : below(60);
    return command;
  }
  RequestId send(Generate command, std::vector<TokenId> content) {
    Asked asked{.command = command, .content = std::move(content)};
    const auto choices = static_cast<std::size_t>(num_choices(command));
    asked.granted.assign(choices, command.credit);
    asked.told_at_end.assign(choices, SIZE_MAX);
    const RequestId request = engine_.send(std::move(command));
    if (!engine_.ledger.refused(request)) asked_.emplace(request, std::move(asked));
    return request;
  }
  void ask() {
    Generate command = random_turn();
    for (int i = below(3); i > 0; --i) command.prompts.push_back(counting_tokens(1 + below(30), 200));
    command.n = 1 + below(5);
    send(std::move(command), {});
  }
  void grant() {
    if (asked_.empty()) return;
    auto& [request, asked] = *any_of(asked_);
    const auto choice = below(static_cast<int>(asked.granted.size()));
    grant(request, asked, choice, asked.granted[static_cast<std::size_t>(choice)] + below(20) - 3);
  }
  void grant(RequestId request, Asked& asked, std::int32_t choice, std::int64_t events) {
    auto& granted = asked.granted[static_cast<std::size_t>(choice)];
    granted = std::max(granted, events);
    engine_.scheduler.take(Grant{request, choice, events});
  }
  void cancel() {
    if (asked_.empty()) return;
    auto& [request, asked] = *any_of(asked_);
    asked.cancelled = true;
    engine_.scheduler.take(Cancel{request});
    for (std::int32_t choice = 0; choice < num_choices(asked.command); ++choice) {
      EXPECT_EQ(engine_.ledger.of(request, choice).ends.size(), 1u) << "a cancel ends every choice";
    }
  }
  // As the coordinator does: the stop is in what was told of the output.
  void stop() {
    if (asked_.empty()) return;
    auto& [request, asked] = *any_of(asked_);
    const std::int32_t choice = below(num_choices(asked.command));
    const Told& told = engine_.ledger.of(request, choice);
    const auto said = output_of(told);
    if (said.empty() || !told.ends.empty() || asked.cancelled) return;
    const auto given = std::ssize(input_of(asked, choice));
    const std::int64_t kept = below(static_cast<int>(said.size()) + 1);
    EndTurn stop{request, choice, given + std::min<std::int64_t>(kept, std::ssize(said) - 1), {}};
    if (kept == std::ssize(said)) stop.pending = {said.back()};
    asked.stopped.insert(choice);
    engine_.scheduler.take(stop);
    ASSERT_EQ(told.ends.size(), 1u);
    EXPECT_EQ(told.ends[0].reason, FinishReason::stop);
    EXPECT_EQ(told.ends[0].usage.seen_tokens, stop.position);
  }

  // ---- Sessions

  void open() {
    const SessionId id = next_++;
    // As often as not it has seen something before.
    const auto content = counting_tokens(below(2) * below(60), 10 + below(90));
    const SessionShape shape = small_limits().session;
    const std::int64_t begin =
        replay_begin(std::ssize(content), 1 + below(9), shape.window, shape.num_layers);
    const auto sinks = std::min(shape.window.sink_tokens, std::ssize(content));
    const Past past{std::vector<TokenId>(content.begin(), content.begin() + sinks), begin,
                    std::vector<TokenId>(content.begin() + begin, content.end())};
    const RequestId request = engine_.send(OpenSession{.session = id, .window = {}, .past = past});
    if (!engine_.ledger.refused(request)) {
      kept_[id] = {content, 0};
      return;
    }
    EXPECT_EQ(engine_.ledger.refused(request)->reason, RefusalReason::queue_full);
    EXPECT_GE(std::ssize(kept_) + std::ssize(forks_),
              std::max(1, slots_ - 1 + (lost_a_place_ ? 0 : places_)));
  }
  void begin() {
    if (kept_.empty()) return;
    auto& [id, kept] = *any_of(kept_);
    Generate command = random_turn();
    command.session = id;
    if (below(4) == 0) command.prompts = {SharedTokens()};
    const bool is_idle = kept.request == 0;
    const RequestId request = send(std::move(command), kept.content);
    EXPECT_TRUE(!engine_.ledger.accepted(request) || is_idle);
    if (engine_.ledger.accepted(request)) kept.request = request;
  }
  void go_back() {
    if (kept_.empty()) return;
    auto& [id, kept] = *any_of(kept_);
    const std::int64_t to = below(static_cast<int>(kept.content.size()) + 1);
    const RequestId request = engine_.send(RollBackSession{.session = id, .to = to});
    if (!engine_.ledger.changed(request)) return;
    EXPECT_EQ(kept.request, 0u);
    kept.content.resize(static_cast<std::size_t>(to));
  }
  void fork() {
    if (kept_.empty()) return;
    const auto& [id, kept] = *any_of(kept_);
    const std::int64_t at = below(static_cast<int>(kept.content.size()) + 1);
    const SessionId fork = next_++;
    const RequestId request = engine_.send(ForkSession{.session = fork, .from = id, .at = at});
    if (engine_.ledger.refused(request)) return;
    EXPECT_EQ(kept.request, 0u);
    forks_[request] = {fork, {kept.content.begin(), kept.content.begin() + at}};
  }
  // They are answered when their copy has been made.
  void settle_forks() {
    std::erase_if(forks_, [this](const auto& item) {
      const auto& [request, fork] = item;
      if (engine_.ledger.changed(request)) kept_[fork.id] = {fork.content, 0};
      const auto refused = engine_.ledger.refused(request);
      if (refused) {
        EXPECT_EQ(refused->reason, RefusalReason::failed);
        EXPECT_TRUE(failed_any_);
      }
      return refused || kept_.contains(fork.id);
    });
  }
  void close() {
    if (kept_.empty()) return;
    const auto at = any_of(kept_);
    const RequestId turn = at->second.request;
    EXPECT_TRUE(engine_.ledger.changed(engine_.send(CloseSession{.session = at->first})));
    if (turn != 0) {
      EXPECT_EQ(engine_.ledger.of(turn).ends.size(), 1u);
      asked_.at(turn).cancelled = true;
    }
    kept_.erase(at);
  }

  // ---- Operations that fail

  void fail_next() { fails_ = true; }
  void look_at(const StepPlan& plan) {
    for (const SlotOperation& operation : plan.operations) {
      if (vacates(operation)) must_be_vacated_.erase(*changed_by(operation));
    }
    for (const auto& [where, index] : must_be_vacated_) {
      ADD_FAILURE() << (where == Standing::Where::slot ? "slot " : "place ") << index
                    << " is not vacated after an operation on it failed";
    }
    if (!std::exchange(fails_, false) || plan.operations.empty()) return;
    const int index = below(static_cast<int>(plan.operations.size()));
    const SlotOperation& operation = plan.operations[static_cast<std::size_t>(index)];
    const Standing standing = *changed_by(operation);
    bool stays = !vacates(operation);
    for (std::size_t i = static_cast<std::size_t>(index) + 1; i < plan.operations.size(); ++i) {
      stays = stays && !(vacates(plan.operations[i]) && changed_by(plan.operations[i]) == standing);
    }
    if (!stays) return;
    must_be_vacated_.insert(standing);
    lost_a_place_ = lost_a_place_ || std::holds_alternative<SaveSlot>(operation);
    for (auto& [request, asked] : asked_) asked.may_fail = true;
    failed_any_ = true;
    engine_.failures.push_back({index, "no memory"});
    if (below(2) == 0) engine_.failures.push_back({index, "none there either"});
  }
  bool is_known(SessionId id) {
    const RequestId request = engine_.send(ForkSession{.session = id, .from = id});
    return engine_.ledger.refused(request)->reason == RefusalReason::session_exists;
  }

  // ---- What must hold

  static std::vector<TokenId> output_of(const Told& told) {
    std::vector<TokenId> tokens;
    for (const TokenEvent& event : told.events) {
      if (!event.from_prompt) tokens.push_back(event.token);
    }
    return tokens;
  }
  static std::vector<TokenId> input_of(const Asked& asked, std::int32_t choice) {
    std::vector<TokenId> input = asked.content;
    const auto& prompt = asked.command.prompts[static_cast<std::size_t>(choice / asked.command.n)];
    input.insert(input.end(), prompt.begin(), prompt.end());
    return input;
  }

  void check_choices() {
    for (auto& [request, asked] : asked_) {
      for (std::int32_t choice = 0; choice < num_choices(asked.command); ++choice) {
        SCOPED_TRACE("request " + std::to_string(request) + ", choice " + std::to_string(choice));
        check_choice(asked, choice, engine_.ledger.of(request, choice));
      }
    }
  }
  void check_choice(Asked& asked, std::int32_t choice, const Told& told) {
    const auto index = static_cast<std::size_t>(choice);
    EXPECT_LE(std::ssize(told.events), asked.granted[index]) << "beyond its credit";
    EXPECT_LE(told.ends.size(), 1u);
    const auto said = output_of(told);
    const auto input = input_of(asked, choice);
    const auto i = static_cast<std::uint64_t>(choice % asked.command.n);
    EXPECT_EQ(said, said_after(input, said.size(), asked.command.params.sampling.seed + i));
    std::int64_t position = -1;
    for (const TokenEvent& event : told.events) {
      EXPECT_TRUE(position < 0 || event.position == position + 1);
      position = event.position;
      if (!event.from_prompt) continue;
      EXPECT_EQ(event.token, input.at(static_cast<std::size_t>(event.position)));
    }
    if (!said.empty()) {
      EXPECT_EQ(position + 1, std::ssize(input) + std::ssize(said));
    }
    if (told.ends.empty()) return;
    if (asked.told_at_end[index] == SIZE_MAX) asked.told_at_end[index] = told.events.size();
    EXPECT_EQ(told.events.size(), asked.told_at_end[index]) << "told after its end";
    const TurnEnded& end = told.ends[0];
    switch (end.reason) {
      case FinishReason::length: {
        EXPECT_EQ(std::ssize(said), asked.command.params.max_tokens);
        const std::int64_t pending = said.empty() ? 0 : 1;
        EXPECT_EQ(std::ssize(end.pending), pending);
        EXPECT_EQ(end.usage.seen_tokens, std::ssize(input) + std::ssize(said) - pending);
        const bool scored = asked.command.params.prompt_logprobs && choice % asked.command.n == 0;
        if (scored && asked.content.empty()) {
          EXPECT_EQ(std::ssize(told.events), std::ssize(input) + std::ssize(said));
        }
        break;
      }
      case FinishReason::stop:
        EXPECT_TRUE(asked.stopped.contains(choice));
        break;
      case FinishReason::cancelled:
        EXPECT_TRUE(asked.cancelled);
        break;
      case FinishReason::failed:
        EXPECT_TRUE(asked.may_fail);
        break;
      case FinishReason::ending:
        ADD_FAILURE();
    }
  }

  // Takes notice of the ends of turns of sessions, and of sessions: those that rest have no event.
  void settle() {
    settle_forks();
    std::erase_if(kept_, [this](const auto& item) {
      const bool is_gone = item.second.request == 0 && !is_known(item.first);
      EXPECT_TRUE(!is_gone || failed_any_);
      return is_gone;
    });
    for (auto it = kept_.begin(); it != kept_.end();) {
      Kept& kept = it->second;
      const Told* const told = kept.request != 0 ? &engine_.ledger.of(kept.request) : nullptr;
      if (!told || told->ends.empty()) {
        ++it;
        continue;
      }
      const TurnEnded& end = told->ends[0];
      if (end.reason == FinishReason::failed || !is_known(it->first)) {
        it = kept_.erase(it);
        continue;
      }
      auto content = input_of(asked_.at(kept.request), 0);
      const auto said = output_of(*told);
      content.insert(content.end(), said.begin(), said.end());
      const std::int64_t left = end.usage.seen_tokens + std::ssize(end.pending);
      EXPECT_LE(left, std::ssize(content));
      if (end.reason != FinishReason::stop) {
        EXPECT_EQ(left, std::ssize(content));
      }
      content.resize(static_cast<std::size_t>(left));
      for (std::size_t i = 0; i < end.pending.size(); ++i) {
        EXPECT_EQ(end.pending[i], content[static_cast<std::size_t>(end.usage.seen_tokens) + i]);
      }
      kept.content = std::move(content);
      kept.request = 0;
      ++it;
    }
  }

  void expect_counts() {
    EngineStats stats;
    engine_.scheduler.add_counts(stats);
    std::int64_t live = 0;
    for (auto& [request, asked] : asked_) {
      for (std::int32_t choice = 0; choice < num_choices(asked.command); ++choice) {
        live += engine_.ledger.of(request, choice).ends.empty() ? 1 : 0;
      }
    }
    EXPECT_EQ(stats.running + engine_.scheduler.free_slots(), slots_);
    EXPECT_LE(stats.parked_sessions, places_);
    EXPECT_LE(stats.resident_sessions + stats.parked_sessions, std::max(1, slots_ + places_ - 1));
    EXPECT_GE(stats.parks, stats.restores);
    parks = stats.parks;
    restores = stats.restores;
    EXPECT_LE(stats.waiting, live);
    EXPECT_GE(stats.waiting + stats.running, live) << "each choice waits or has a slot";
  }

  // Everybody reads on, and sessions end.
  void finish() {
    fails_ = false;
    for (int i = 0; i < 1000 && !testing::Test::HasFailure(); ++i) {
      for (auto& [request, asked] : asked_) {
        for (std::int32_t choice = 0; choice < num_choices(asked.command); ++choice) {
          grant(request, asked, choice, kMuchCredit);
        }
      }
      engine_.run();
      check_choices();
      settle();
      expect_nobody_waits();
      const auto resting =
          std::find_if(kept_.begin(), kept_.end(), [](const auto& kept) { return kept.second.request == 0; });
      if (resting == kept_.end()) break;
      EXPECT_TRUE(engine_.ledger.changed(engine_.send(CloseSession{.session = resting->first})));
      kept_.erase(resting);
    }
    engine_.run();
    EXPECT_TRUE(kept_.empty()) << "a turn does not end";
    for (auto& [request, asked] : asked_) {
      for (std::int32_t choice = 0; choice < num_choices(asked.command); ++choice) {
        EXPECT_EQ(engine_.ledger.of(request, choice).ends.size(), 1u)
            << "request " << request << ", choice " << choice;
      }
    }
    EXPECT_EQ(engine_.running(), 0);
    EXPECT_EQ(engine_.scheduler.waiting(), 0);
  }

  // As long as all places are there, sessions that rest hold up nobody.
  void expect_nobody_waits() {
    if (lost_a_place_ || slots_ + places_ == 1) return;
    for (auto& [request, asked] : asked_) {
      for (std::int32_t choice = 0; choice < num_choices(asked.command); ++choice) {
        EXPECT_EQ(engine_.ledger.of(request, choice).ends.size(), 1u)
            << "request " << request << ", choice " << choice << " waits for a slot in vain";
      }
    }
  }

  std::mt19937 random_;
  std::int32_t slots_, places_;
  ModelledEngine engine_;
  std::map<RequestId, Asked> asked_;
  std::map<SessionId, Kept> kept_;
  std::map<RequestId, Fork> forks_;  // under way
  SessionId next_ = 1;
  bool fails_ = false, failed_any_ = false, lost_a_place_ = false;
  std::set<Standing> must_be_vacated_;
};

class RandomCommandsTest : public testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Depths, RandomCommandsTest, testing::Values(1, 2, 3),
                         [](const auto& test) { return std::to_string(test.param); });

TEST_P(RandomCommandsTest, EveryChoiceEndsOnceAndSaysWhatItSaysAlone) {
  const char* const many = std::getenv("SEEDS");
  const unsigned seeds = many ? static_cast<unsigned>(std::atoi(many)) : 300;
  std::int64_t parks = 0, restores = 0;
  for (unsigned seed = 0; seed < seeds && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomCommands random(GetParam(), seed);
    random.run(120);
    parks += random.parks;
    restores += random.restores;
  }
  EXPECT_GT(parks, seeds);
  EXPECT_GT(restores, seeds / 2);
}

}  // namespace
}  // namespace sinkstream
