// Where a choice's session stands when a stop string has ended the answer.
#include "coordinator/api/generation/choice_turn.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/paths.h"

namespace sinkstream {
namespace {

constexpr CacheWindow kWindow{4, 28};
constexpr std::int64_t kPrompt = 10;

class ChoiceTurnTest : public ::testing::Test {
 protected:
  static const Tokenizer& tokenizer() {
    static const Tokenizer loaded = Tokenizer::load(project_dir() / "models/demo/tokenizer.json");
    return loaded;
  }
  ChoiceTurn make(std::int64_t credit = 64) const {
    return {Choice(tokenizer(), options, {}), kPrompt, kWindow, CreditWindow(credit), !options.stop.empty()};
  }
  static std::vector<TokenId> tokens_of(const std::string& text) {
    return tokenizer().encode(text, {.add_special_tokens = false});
  }
  // Until it stops, or to the end.
  std::string say(ChoiceTurn& turn, const std::vector<TokenId>& tokens) const {
    std::string told;
    for (const TokenId token : tokens) {
      told += turn.take({.token = token}, /*own=*/true).text;
      if (turn.choice().stopped()) break;
    }
    return told + turn.end("length").text;
  }

  GenerationOptions options;
};

TEST_F(ChoiceTurnTest, AStopStringTakesTheSessionBackToTheLastTokenBoundary) {
  std::mt19937 random(31);
  int cut_within_a_token = 0, pending = 0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<TokenId> tokens;
    for (std::size_t i = 1 + random() % 12; i > 0; --i)
      tokens.push_back(static_cast<TokenId>(random() % 1000));
    const std::string text = tokenizer().decode(tokens, true);
    if (text.empty()) continue;
    options.stop = {text.substr(random() % text.size(), 1 + random() % 5)};
    options.include_stop = random() % 2 == 0;
    ChoiceTurn turn = make();
    const std::string told = say(turn, tokens);
    if (!turn.choice().stopped()) continue;
    EXPECT_STREQ(turn.finish_reason(), "stop");

    const std::int64_t said = turn.choice().completion_tokens();
    std::int64_t whole = 0;  // of its tokens, those that are told whole
    for (std::int64_t k = 1; k <= said; ++k) {
      const std::span first(tokens.data(), static_cast<std::size_t>(k));
      if (told.starts_with(tokenizer().decode(first, true))) whole = k;
    }
    const EndTurn command = turn.where_it_ends(7, 3);
    EXPECT_EQ(command.request, 7u);
    EXPECT_EQ(command.choice, 3);
    EXPECT_EQ(command.position, kPrompt + std::min(whole, said - 1));
    const std::vector<TokenId> last = {tokens[static_cast<std::size_t>(said - 1)]};
    EXPECT_EQ(command.pending, whole == said ? last : std::vector<TokenId>{});
    const std::span told_whole(tokens.data(), static_cast<std::size_t>(whole));
    EXPECT_EQ(told, tokenizer().decode(told_whole, true) + turn.choice().pending_text());
    EXPECT_EQ(turn.session(), session_usage(command.position, kWindow));
    cut_within_a_token += turn.choice().pending_text().empty() ? 0 : 1;
    pending += command.pending.empty() ? 0 : 1;
  }
  EXPECT_GT(cut_within_a_token, 100);
  EXPECT_GT(pending, 100);
}

TEST_F(ChoiceTurnTest, TheEnginesWordCountsWhereItKnowsTheAnswersEnd) {
  options.stop = {"two"};
  const std::vector<TokenId> tokens = tokens_of("one two three");
  ChoiceTurn turn = make();
  say(turn, tokens);
  const std::int64_t position = turn.where_it_ends(1, 0).position;
  const SessionUsage there = session_usage(position, kWindow);
  const SessionUsage elsewhere = session_usage(position + 20, kWindow);

  ChoiceTurn answered = turn, by_itself = turn, full = turn, out_of_reach = turn;
  answered.take_end({.reason = FinishReason::stop, .usage = there});
  EXPECT_EQ(answered.session(), there);
  by_itself.take_end({.reason = FinishReason::stop, .usage = elsewhere, .stop_token = 5});
  EXPECT_EQ(by_itself.session(), there);
  full.take_end({.reason = FinishReason::length, .usage = elsewhere});
  EXPECT_EQ(full.session(), there);
  out_of_reach.take_end({.reason = FinishReason::cancelled, .usage = elsewhere});
  EXPECT_EQ(out_of_reach.session(), there);
}

// The turn had ended; what was held back to the last was a stop string.
TEST_F(ChoiceTurnTest, AStopStringAtTheVeryEndTakesTheSessionBackToo) {
  options.stop = {"\uFFFD"};
  const std::vector<TokenId> word = tokens_of("one");
  const std::vector<TokenId> character = tokens_of("\U0001F999");  // of several tokens
  ASSERT_GT(character.size(), 1u);
  ChoiceTurn turn = make();
  for (const TokenId token : word) turn.take({.token = token}, true);
  turn.take({.token = character[0]}, true);
  const std::int64_t said = turn.choice().completion_tokens();
  turn.take_end({.reason = FinishReason::length, .usage = session_usage(kPrompt + said - 1, kWindow)});
  turn.end("length");
  EXPECT_STREQ(turn.finish_reason(), "stop");
  EXPECT_EQ(turn.session(), session_usage(kPrompt + std::ssize(word), kWindow));
}

TEST_F(ChoiceTurnTest, WithoutAStopStringTheSessionHasTakenInAllButTheLastToken) {
  ChoiceTurn turn = make();
  EXPECT_EQ(turn.session(), session_usage(kPrompt, kWindow));
  const std::vector<TokenId> tokens = tokens_of("one two three");
  for (const TokenId token : tokens) turn.take({.token = token}, /*own=*/true);
  const std::int64_t taken = kPrompt + std::ssize(tokens) - 1;
  EXPECT_EQ(turn.session(), session_usage(taken, kWindow));

  ChoiceTurn ended_by_engine = turn;
  ended_by_engine.take_end(
      {.reason = FinishReason::stop, .usage = session_usage(99, kWindow), .stop_token = 5});
  ended_by_engine.end("stop", 5);
  EXPECT_EQ(ended_by_engine.session(), session_usage(99, kWindow));

  turn.end("length");
  EXPECT_EQ(turn.where_it_ends(1, 0).pending, std::vector<TokenId>{tokens.back()});
  EXPECT_EQ(turn.where_it_ends(1, 0).position, taken);
  turn.take_end({.reason = FinishReason::length, .usage = session_usage(99, kWindow)});
  EXPECT_EQ(turn.session(), session_usage(taken, kWindow));
}

TEST_F(ChoiceTurnTest, CreditIsForWhatMayHaveToBeTakenBackToo) {
  const std::vector<TokenId> held_back = tokens_of("abababababababababab");
  ASSERT_GT(held_back.size(), 6u);
  const auto granted = [&](const std::vector<std::string>& stop) {
    options.stop = stop;
    ChoiceTurn turn = make(/*credit=*/8);
    std::int64_t total = 8;
    for (std::size_t i = 0; i < 6; ++i) {
      turn.take({.token = held_back[i]}, true);
      total = turn.renew_credit().value_or(total);
    }
    return total;
  };
  EXPECT_GT(granted({}), 8);
  EXPECT_GT(granted({"no"}), 8);
  EXPECT_EQ(granted({"abababababababababababab"}), 8);

  options.stop = {"two"};
  ChoiceTurn turn = make(/*credit=*/1);
  say(turn, tokens_of("two"));
  EXPECT_EQ(turn.renew_credit(), std::nullopt) << "it has ended";
}

}  // namespace
}  // namespace sinkstream
