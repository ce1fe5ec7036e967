// Which tokens of a stream have been told whole, and what has been told of the next ones.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/temporary_directory.h"
#include "tests/text/tokenizer/demo_tokenizer.h"
#include "text/tokenizer/text_stream.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

// SentencePiece with byte tokens: "é" and "😀" of several, spaces stripped from the beginning, special tokens.
const Tokenizer& byte_fallback() {
  static const Tokenizer tokenizer = [] {
    const TemporaryDirectory directory;
    return Tokenizer::load(directory.write("tokenizer.json", R"({
      "added_tokens": [{"id": 11, "content": "<s>", "special": true}, {"id": 12, "content": "<e>", "special": true}],
      "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
      "model": {"type": "BPE", "byte_fallback": true, "unk_token": null, "vocab": {"<0x0A>": 0, "<0xC3>": 1,
        "<0xA9>": 2, "<0xF0>": 3, "<0x9F>": 4, "<0x98>": 5, "<0x80>": 6, "▁": 7, "a": 8, "▁a": 9, "ba": 10},
        "merges": ["▁ a"]}
    })"));
  }();
  return tokenizer;
}

struct Stream {
  const Tokenizer& tokenizer;
  TextStreamOptions options;
  TextStream stream{tokenizer, options};
  std::string told = {};
  std::vector<TokenId> tokens = {};

  void push(TokenId token, bool may_stop = true) {
    tokens.push_back(token);
    told += stream.push(token, may_stop);
  }
  // The text of the first tokens, had none followed.
  std::string text_of(std::int64_t count) const {
    TextStreamOptions without_stops = options;
    without_stops.stops.clear();
    TextStream prefix(tokenizer, without_stops);
    std::string text;
    for (std::int64_t i = 0; i < count; ++i) text += prefix.push(tokens[static_cast<std::size_t>(i)]);
    return text + prefix.finish();
  }
  // The definition.
  std::int64_t most_told() const {
    std::int64_t most = 0;
    for (std::int64_t count = 1; count <= std::ssize(tokens); ++count) {
      if (told.starts_with(text_of(count))) most = count;
    }
    return most;
  }
  testing::AssertionResult is_right() const {
    const std::int64_t count = stream.told_tokens();
    if (count == most_told() && told == text_of(count) + stream.pending_text())
      return testing::AssertionSuccess();
    auto failure = testing::AssertionFailure() << "told \"" << told << "\" after tokens";
    for (const TokenId token : tokens) failure << " " << token;
    for (const std::string& stop : options.stops) failure << " stop \"" << stop << "\"";
    return failure << ": " << count << " of them, not " << most_told() << ", and \"" << stream.pending_text()
                   << "\"; \"" << text_of(count) << "\"";
  }
};

// A piece of what the tokens say, so that it comes, or of something else.
std::string random_stop(const Tokenizer& tokenizer, const std::vector<TokenId>& tokens,
                        std::mt19937& random) {
  const std::string text = tokenizer.decode(tokens, /*skip_special_tokens=*/true);
  if (text.empty()) return "x";
  const std::size_t begin = random() % text.size();
  std::string stop = text.substr(begin, 1 + random() % 7);
  if (random() % 4 == 0) stop += "x";
  return stop;
}

TEST(ToldTokens, TellTheLargestNumberWhoseTextIsToldWhole) {
  std::mt19937 random(17);
  int stopped = 0, with_pending_text = 0;
  for (int round = 0; round < 6000; ++round) {
    const bool bytes = random() % 2 == 0;
    const Tokenizer& tokenizer = bytes ? byte_fallback() : demo_tokenizer();
    const auto any_token = [&]() -> TokenId {
      if (bytes) return static_cast<TokenId>(random() % 14);  // 13 is none
      if (random() % 4 == 0) return static_cast<TokenId>(random() % 8);
      return static_cast<TokenId>(random() % (random() % 2 ? 300 : 1000));
    };
    std::vector<TokenId> tokens;
    for (std::size_t i = random() % 16; i > 0; --i) tokens.push_back(any_token());
    TextStreamOptions options;
    for (std::size_t i = random() % 3; i > 0; --i)
      options.stops.push_back(random_stop(tokenizer, tokens, random));
    options.include_stop = random() % 3 == 0;
    options.skip_special_tokens = random() % 4 != 0;
    options.continues_text = random() % 3 == 0;
    // Special tokens by name: see below.
    if (options.skip_special_tokens) {
      std::erase_if(options.stops, [&](const std::string& stop) {
        return std::ranges::any_of(tokenizer.special_token_names(),
                                   [&](const std::string& name) { return stop.find(name) != stop.npos; });
      });
    }
    const std::size_t min_tokens = random() % 4 == 0 ? random() % 8 : 0;
    Stream stream{tokenizer, options};
    for (const TokenId token : tokens) {
      stream.push(token, stream.tokens.size() >= min_tokens);
      ASSERT_TRUE(stream.is_right());
      if (stream.stream.stopped()) break;
    }
    stream.told += stream.stream.finish();
    ASSERT_TRUE(stream.is_right());
    if (stream.stream.stopped()) {
      ++stopped;
      with_pending_text += stream.stream.pending_text().empty() ? 0 : 1;
    } else {
      ASSERT_EQ(stream.stream.told_tokens(), std::ssize(tokens));
    }
  }
  EXPECT_GT(stopped, 1000);
  EXPECT_GT(with_pending_text, 100);
}

// What the tokens of a text say up to a stop string: "2+xy" are two of them and then a part.
std::string told_of(const std::string& text, const TextStreamOptions& options) {
  Stream stream{demo_tokenizer(), options};
  for (const TokenId token : demo_tokenizer().encode(text, {.add_special_tokens = false})) {
    if (!stream.stream.stopped()) stream.push(token);
  }
  stream.told += stream.stream.finish();
  EXPECT_TRUE(stream.stream.stopped());
  return std::to_string(stream.stream.told_tokens()) + "+" + stream.stream.pending_text();
}

std::int64_t tokens_in(const std::string& text) {
  return std::ssize(demo_tokenizer().encode(text, {.add_special_tokens = false}));
}

// A special token that is not shown comes before the cut, unless it belongs to what is cut off.
TEST(ToldTokens, HiddenTokensOfAStopStringAreNotTold) {
  const std::string text = "one<|user|>two";
  const std::int64_t before = tokens_in("one");
  const auto count = [](std::int64_t tokens) { return std::to_string(tokens) + "+"; };
  EXPECT_EQ(told_of(text, {.stops = {"<|user|>"}}), count(before));
  EXPECT_EQ(told_of(text, {.stops = {"<|user|>t"}}), count(before));
  EXPECT_EQ(told_of(text, {.stops = {"two"}}), count(before + 1));
  EXPECT_EQ(told_of(text, {.stops = {"two", "<|user|>x"}}), count(before + 1));
  EXPECT_EQ(told_of("one<|user|><|user|>", {.stops = {"<|user|><|user|>"}}), count(before));
  EXPECT_EQ(told_of("one<|end|><|user|>", {.stops = {"<|user|>"}}), count(before + 1));
  EXPECT_EQ(told_of(text, {.stops = {"<|user|>"}, .include_stop = true}), count(before + 1));
  EXPECT_EQ(told_of(text, {.stops = {"e<|user|>"}, .include_stop = true}), count(before + 1));
}

TEST(ToldTokens, AHiddenTokenThatMayBeginAStopStringIsNotToldYet) {
  Stream stream{demo_tokenizer(), {.stops = {"<|user|>\n"}}};
  for (const TokenId token : demo_tokenizer().encode("one<|user|>", {.add_special_tokens = false}))
    stream.push(token);
  EXPECT_EQ(stream.stream.told_tokens(), tokens_in("one"));
  stream.push(*demo_tokenizer().find("<|end|>"));
  EXPECT_EQ(stream.stream.told_tokens(), tokens_in("one") + 2);
}

// All of a run of byte tokens is replaced if it is no text, so a long one is not looked at from every token.
TEST(ToldTokens, LongRunsOfByteTokensCostLittle) {
  for (const TokenId last : {TokenId{8}, TokenId{2}}) {
    Stream stream{byte_fallback(), {.stops = {"stop", "\uFFFDa"}}};
    constexpr std::int64_t kRun = 50'000;
    for (std::int64_t i = 0; i < kRun; ++i) stream.push(i % 2 ? 2 : 1);  // "é"
    EXPECT_LT(stream.stream.told_tokens(), 300);
    Stream unfinished = stream;
    unfinished.stream.finish();
    EXPECT_EQ(unfinished.stream.told_tokens(), kRun);
    EXPECT_EQ(unfinished.stream.pending_text(), "");
    stream.push(last);
    stream.push(8);
    EXPECT_EQ(stream.stream.stopped(), last == 2);
    if (last == 8) {
      EXPECT_EQ(stream.stream.told_tokens(), kRun + 2);
    }
    EXPECT_LT(stream.stream.pending_text().size(), 3u * (kRun + 1));
  }
}

}  // namespace
}  // namespace sinkstream
