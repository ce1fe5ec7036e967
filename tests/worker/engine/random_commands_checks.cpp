// What must hold.
#include <string>

#include "tests/worker/engine/random_commands.h"

namespace sinkstream {

void RandomCommands::run(int commands) {
  for (int i = 0; i < commands && !testing::Test::HasFailure(); ++i) {
    command();
    expect_counts();
    engine_.run(below(6) == 0 ? 40 : below(4));
    check_choices();
    settle();
  }
  finish();
}

std::vector<TokenId> RandomCommands::output_of(const Told& told) {
  std::vector<TokenId> tokens;
  for (const TokenEvent& event : told.events) {
    if (!event.from_prompt) tokens.push_back(event.token);
  }
  return tokens;
}

std::vector<TokenId> RandomCommands::input_of(const Asked& asked, std::int32_t choice) {
  std::vector<TokenId> input = asked.content;
  const auto& prompt = asked.command.prompts[static_cast<std::size_t>(choice / asked.command.n)];
  input.insert(input.end(), prompt.begin(), prompt.end());
  return input;
}

void RandomCommands::check_choices() {
  for (auto& [request, asked] : asked_) {
    for (std::int32_t choice = 0; choice < num_choices(asked.command); ++choice) {
      SCOPED_TRACE("request " + std::to_string(request) + ", choice " + std::to_string(choice));
      check_choice(asked, choice, engine_.ledger.of(request, choice));
    }
  }
}

void RandomCommands::check_choice(Asked& asked, std::int32_t choice, const Told& told) {
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
void RandomCommands::settle() {
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

void RandomCommands::expect_counts() {
  EngineStats stats;
  engine_.scheduler.add_counts(stats);
  std::int64_t live = 0;
  for (auto& [request, asked] : asked_) {
    for (std::int32_t choice = 0; choice < num_choices(asked.command); ++choice) {
      live += engine_.ledger.of(request, choice).ends.empty() ? 1 : 0;
    }
  }
  EXPECT_EQ(stats.used_slots + engine_.scheduler.free_slots(), slots_);
  EXPECT_LE(stats.running, stats.used_slots);
  EXPECT_LE(stats.parked_sessions, places_);
  EXPECT_LE(stats.resident_sessions + stats.parked_sessions, std::max(1, slots_ + places_ - 1));
  EXPECT_GE(stats.parks, stats.restores);
  parks = stats.parks;
  restores = stats.restores;
  EXPECT_LE(stats.waiting, live);
  EXPECT_GE(stats.waiting + stats.running, live) << "each choice waits or has a slot";
}

// Everybody reads on, and sessions end.
void RandomCommands::finish() {
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
void RandomCommands::expect_nobody_waits() {
  if (lost_a_place_ || slots_ + places_ == 1) return;
  for (auto& [request, asked] : asked_) {
    for (std::int32_t choice = 0; choice < num_choices(asked.command); ++choice) {
      EXPECT_EQ(engine_.ledger.of(request, choice).ends.size(), 1u)
          << "request " << request << ", choice " << choice << " waits for a slot in vain";
    }
  }
}

}  // namespace sinkstream
