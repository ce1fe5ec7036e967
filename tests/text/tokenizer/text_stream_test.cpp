#include "text/tokenizer/text_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <random>

#include "tests/temporary_directory.h"
#include "tests/text/tokenizer/demo_tokenizer.h"
#include "text/unicode/utf8.h"
#include "text/unicode/utf8_stream.h"

namespace sinkstream {
namespace {

std::string random_bytes(std::mt19937& random, std::size_t length) {
  static const std::string pool[] = {"a",    "é",    "日",   "😀",        "👩‍👩‍👧", "\xF0\x9F",
                                     "\x98", "\xE2", "\xFF", "\xC3\x28", "\xED\xA0\x80",       "\xF4\x90",
                                     " ",    "\n"};
  std::string bytes;
  for (std::size_t i = 0; i < length; ++i) bytes += pool[random() % std::size(pool)];
  return bytes;
}

TEST(Utf8StreamTest, AnySplitGivesTheWholeText) {
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    const std::string bytes = random_bytes(random, 1 + random() % 12);
    Utf8Stream stream;
    std::string text;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t length = random() % 4;
      const std::string piece = stream.push(std::string_view(bytes).substr(at, length));
      ASSERT_TRUE(is_valid_utf8(piece)) << "part of a character was shown";
      text += piece;
      at += length;
    }
    text += stream.finish();
    ASSERT_EQ(text, to_valid_utf8(bytes));
    ASSERT_EQ(stream.finish(), "");
  }
}

TEST(Utf8StreamTest, NothingIsHeldLongerThanNeeded) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("a\xF0"), "a");
  EXPECT_EQ(stream.push("\x9F\x98"), "");
  EXPECT_EQ(stream.push("\x80z"), "😀z");
  EXPECT_EQ(stream.push("\xE2\x82"), "");
  EXPECT_EQ(stream.push("("), "\uFFFD(");
  EXPECT_EQ(stream.push("\xC3"), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
}

struct Shown {
  std::string text;
  bool matched;
};

// The definition: cut before the stop string that is complete first; of those that end together, the longest.
Shown cut_naively(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& stop : stops) {
      if (!stop.empty() && std::string_view(text).substr(0, end).ends_with(stop))
        longest = std::max(longest, stop.size());
    }
    if (longest > 0) return {text.substr(0, end - longest), true};
  }
  return {text, false};
}

TEST(StopMatcherTest, AnySplitGivesTheTextBeforeTheFirstStop) {
  std::mt19937 random(5);
  const auto word = [&random](std::size_t length) {
    std::string text;
    for (std::size_t i = 0; i < length; ++i) text += static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stops;
    for (std::size_t i = random() % 5; i > 0; --i) stops.push_back(word(random() % 6));
    const std::string text = word(random() % 24);
    const Shown expected = cut_naively(text, stops);
    StopMatcher matcher(stops);
    std::string shown;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = random() % 5;
      shown += matcher.push(std::string_view(text).substr(at, length));
      at += length;
      ASSERT_TRUE(expected.text.starts_with(shown)) << "part of a stop string was shown";
    }
    EXPECT_EQ(matcher.matched(), expected.matched);
    ASSERT_EQ(shown + matcher.finish(), expected.text);
  }
}

TEST(StopMatcherTest, HoldsBackOnlyWhatMayBecomeAStop) {
  StopMatcher matcher({"\n\nUser:", "END"});
  EXPECT_EQ(matcher.push("Hello\n"), "Hello");
  EXPECT_EQ(matcher.push("there E"), "\nthere ");
  EXPECT_EQ(matcher.push("N"), "");
  EXPECT_EQ(matcher.push("t\n\nUs"), "ENt");
  EXPECT_EQ(matcher.push("er: what"), "");
  EXPECT_TRUE(matcher.matched());
  EXPECT_EQ(matcher.push("more"), "");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcherTest, AnUnfinishedStopIsTextAtTheEnd) {
  StopMatcher matcher({"STOP"});
  EXPECT_EQ(matcher.push("go STO"), "go ");
  EXPECT_EQ(matcher.finish(), "STO");
  EXPECT_FALSE(matcher.matched());
}

// The definition again: a stop string that names a special token is looked for in all of the text, others in
// what is visible, and what is visible before it is shown.
TEST(StopMatcherTest, HiddenTextCountsForStopStringsThatNameIt) {
  std::mt19937 random(6);
  const std::string special = "<s>";
  const auto word = [&](std::size_t parts) {
    std::string text;
    for (std::size_t i = 0; i < parts; ++i) {
      text += random() % 3 == 0 ? special : std::string(1, "ab<"[random() % 3]);
    }
    return text;
  };
  for (int round = 0; round < 20000; ++round) {
    const std::vector<std::string> stops = {word(1 + random() % 3), word(1 + random() % 3)};
    StopMatcher matcher(stops, {special});
    std::string whole, flags, visible, shown;  // flags: a 'v' for each byte of `whole` that is visible
    std::optional<std::string> expected;
    for (int piece = 0; piece < 12 && !expected; ++piece) {
      const bool hidden = random() % 3 == 0;
      const std::string text = hidden ? special : word(random() % 3);
      shown += hidden ? matcher.push_hidden(text) : matcher.push(text);
      for (std::size_t i = 0; i < text.size() && !expected; ++i) {
        whole += text[i];
        flags += hidden ? 'h' : 'v';
        if (!hidden) visible += text[i];
        std::size_t longest = 0;
        for (const std::string& stop : stops) {
          const bool names = stop.find(special) != stop.npos;
          if ((hidden && !names) || !(names ? whole : visible).ends_with(stop) || stop.size() <= longest)
            continue;
          longest = stop.size();
          const auto cut =
              names ? std::count(flags.end() - std::ssize(stop), flags.end(), 'v') : std::ssize(stop);
          expected = visible.substr(0, visible.size() - static_cast<std::size_t>(cut));
        }
      }
      ASSERT_EQ(matcher.matched(), expected.has_value());
      ASSERT_TRUE(expected || visible.starts_with(shown));
    }
    ASSERT_EQ(shown + matcher.finish(), expected.value_or(visible))
        << stops[0] << " " << stops[1] << " " << whole;
  }
}

TEST(StopMatcherTest, AStopStringMayBeIncluded) {
  StopMatcher matcher({"ab<s>c", "x"}, {"<s>"}, /*include=*/true);
  EXPECT_EQ(matcher.push("zab"), "z");
  EXPECT_TRUE(matcher.undecided());
  EXPECT_EQ(matcher.push_hidden("<s>"), "");
  EXPECT_EQ(matcher.push("cd"), "ab<s>c");
  EXPECT_TRUE(matcher.matched());
}

TEST(StopMatcherTest, AStopStringThatMayNotEndTheTextYetIsText) {
  StopMatcher matcher({"aba"});
  EXPECT_EQ(matcher.push("xab", false), "x");
  EXPECT_EQ(matcher.push("a", false), "ab");
  EXPECT_EQ(matcher.push("ba"), "");  // with the "a" before
  EXPECT_TRUE(matcher.matched());
}

TEST(TextStreamTest, EqualsTheWholeDecodeForAnyTokens) {
  std::mt19937 random(9);
  for (int round = 0; round < 500; ++round) {
    std::vector<TokenId> tokens;
    for (std::size_t i = random() % 40; i > 0; --i)
      tokens.push_back(static_cast<TokenId>(random() % 300) - 5);
    for (const bool skip : {false, true}) {
      TextStream stream(demo_tokenizer(), {.stops = {}, .skip_special_tokens = skip});
      std::string text;
      for (const TokenId token : tokens) {
        const std::string piece = stream.push(token);
        ASSERT_TRUE(is_valid_utf8(piece));
        text += piece;
      }
      ASSERT_EQ(text + stream.finish(), demo_tokenizer().decode(tokens, skip));
    }
  }
}

TEST(TextStreamTest, RealTextComesBack) {
  const std::string text =
      "“Naïve” 👩‍👩‍👧 — 東京, 한글; <|end|> 'tis\n\n\tdone\u00A0.";
  TextStream stream(demo_tokenizer(), {.stops = {}, .skip_special_tokens = false});
  std::string shown;
  for (const TokenId token : demo_tokenizer().encode(text, {.add_special_tokens = false}))
    shown += stream.push(token);
  EXPECT_EQ(shown + stream.finish(), text);
}

TEST(TextStreamTest, StopStringsSpanTokens) {
  const std::string text = "The hound howled.\n\nUser: and then 👍?";
  const auto shown_with = [&text](const std::vector<std::string>& stops) {
    TextStream stream(demo_tokenizer(), {.stops = stops});
    std::string shown;
    for (const TokenId token : demo_tokenizer().encode(text)) shown += stream.push(token);
    return shown + stream.finish() + (stream.stopped() ? "|" : "");
  };
  EXPECT_EQ(shown_with({"\n\nUser:"}), "The hound howled.|");
  EXPECT_EQ(shown_with({"wled"}), "The hound ho|");
  EXPECT_EQ(shown_with({"👍"}), "The hound howled.\n\nUser: and then |");
  EXPECT_EQ(shown_with({"👎", "userX", "?!"}), text);
}

TEST(TextStreamTest, ASpecialTokenThatIsNotShownStopsToo) {
  const std::string text = "one\n<|user|>two <|end|><|user|>\nthree";
  const auto shown_with = [&text](const TextStreamOptions& options) {
    TextStream stream(demo_tokenizer(), options);
    std::string shown;
    for (const TokenId token : demo_tokenizer().encode(text, {.add_special_tokens = false}))
      shown += stream.push(token);
    return shown + stream.finish() + (stream.stopped() ? "|" : "");
  };
  EXPECT_EQ(shown_with({.stops = {"<|user|>"}}), "one\n|");
  EXPECT_EQ(shown_with({.stops = {"\n<|user|>t"}}), "one|");
  EXPECT_EQ(shown_with({.stops = {"<|end|><|user|>\nth"}}), "one\ntwo |");
  EXPECT_EQ(shown_with({.stops = {"\ntwo"}}), "one|");  // what the reader sees
  EXPECT_EQ(shown_with({.stops = {"<|end|>x", "<|assistant|>"}}), "one\ntwo \nthree");
  EXPECT_EQ(shown_with({.stops = {"<|end|>"}, .include_stop = true}), "one\ntwo <|end|>|");
  EXPECT_EQ(shown_with({.stops = {"r|>t"}, .skip_special_tokens = false}), "one\n<|use|");
  EXPECT_EQ(shown_with({.stops = {}, .skip_special_tokens = false}), text);
}

// Line feeds of such tokenizers are byte tokens, which become text when their run ends.
TEST(TextStreamTest, ByteTokensAndASpecialTokenMakeAStopString) {
  const TemporaryDirectory directory;
  const Tokenizer tokenizer = Tokenizer::load(directory.write("tokenizer.json", R"({
    "added_tokens": [{"id": 4, "content": "<s>", "special": true}],
    "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
      {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "byte_fallback": true, "unk_token": null,
              "vocab": {"<0x0A>": 0, "▁": 1, "a": 2, "▁a": 3}, "merges": ["▁ a"]}
  })"));
  const auto shown_with = [&tokenizer](const std::string& stop, const std::vector<TokenId>& tokens) {
    TextStream stream(tokenizer, {.stops = {stop}});
    std::string shown;
    for (const TokenId token : tokens) shown += stream.push(token);
    return shown + stream.finish() + (stream.stopped() ? "|" : "");
  };
  EXPECT_EQ(shown_with("\n<s>", {3, 0, 4, 2}), "a|");
  EXPECT_EQ(shown_with("<s>\n", {3, 4, 0, 2}), "a|");
  EXPECT_EQ(shown_with("<s>x", {4, 3, 4, 3}), "a a");  // the first space is stripped, as ever
}

}  // namespace
}  // namespace sinkstream
