#include "text/tokenizer/steps/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/unicode/character_class.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

template <typename... Steps>
PreTokenizer pre_tokenizer_of(Steps... steps) {
  std::vector<PreTokenizerStep> list;
  (list.emplace_back(std::move(steps)), ...);
  return PreTokenizer(std::move(list));
}

std::vector<std::string> run(const PreTokenizer& pre_tokenizer, std::string_view text,
                             bool begins_text = true) {
  Pieces pieces;
  pre_tokenizer.run(text, begins_text, pieces);
  std::vector<std::string> result;
  for (const auto& [begin, end] : pieces.spans) result.emplace_back(pieces.text.substr(begin, end - begin));
  return result;
}

std::vector<std::string> split(const std::string& pattern, SplitBehavior behavior, const std::string& text,
                               bool invert = false) {
  return run(pre_tokenizer_of(SplitStep{TextPattern::regex(pattern), behavior, invert}), text);
}

MetaspaceStep metaspace(PrependScheme scheme, bool split) {
  return {"▁", scheme, split, TextPattern::literal("▁")};
}

// The example of the library's own documentation.
TEST(PreTokenizerTest, SplitBehaviors) {
  const std::string text = "the-final--countdown";
  EXPECT_THAT(split("-", SplitBehavior::removed, text), ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(split("-", SplitBehavior::isolated, text),
              ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(split("-", SplitBehavior::merged_with_previous, text),
              ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(split("-", SplitBehavior::merged_with_next, text),
              ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(split("-", SplitBehavior::contiguous, text),
              ElementsAre("the", "-", "final", "--", "countdown"));
}

TEST(PreTokenizerTest, InvertedSplit) {
  EXPECT_THAT(split("[a-z]+", SplitBehavior::removed, "ab1cd", true), ElementsAre("ab", "cd"));
  EXPECT_THAT(split("[a-z]", SplitBehavior::contiguous, "ab1cd", true), ElementsAre("ab", "1", "cd"));
}

TEST(PreTokenizerTest, EdgesOfTheText) {
  EXPECT_THAT(split("-", SplitBehavior::merged_with_previous, "-a-"), ElementsAre("-", "a-"));
  EXPECT_THAT(split("-", SplitBehavior::merged_with_next, "-a-"), ElementsAre("-a", "-"));
  EXPECT_THAT(split("a", SplitBehavior::removed, "aaa"), IsEmpty());
  EXPECT_THAT(split("-", SplitBehavior::isolated, ""), IsEmpty());
  EXPECT_THAT(split("(?=b)", SplitBehavior::isolated, "abb"), ElementsAre("a", "b", "b"));
}

TEST(PreTokenizerTest, Characters) {
  const auto by = [](bool (*matches)(char32_t), SplitBehavior behavior, std::string_view text) {
    return run(pre_tokenizer_of(CharacterSplitStep{matches, behavior}), text);
  };
  EXPECT_THAT(by(is_punctuation, SplitBehavior::contiguous, "Hey!? 。you"),
              ElementsAre("Hey", "!?", " ", "。", "you"));
  EXPECT_THAT(by(is_numeric, SplitBehavior::isolated, "a12³"), ElementsAre("a", "1", "2", "³"));
  EXPECT_THAT(by(is_numeric, SplitBehavior::contiguous, "a12³b"), ElementsAre("a", "12³", "b"));
  EXPECT_THAT(by(is_white_space, SplitBehavior::removed, " a\u3000b "), ElementsAre("a", "b"));
}

TEST(PreTokenizerTest, FixedLength) {
  EXPECT_THAT(run(pre_tokenizer_of(FixedLengthStep{2}), "aé日xy"), ElementsAre("aé", "日x", "y"));
}

TEST(PreTokenizerTest, MetaspaceSchemes) {
  EXPECT_THAT(run(pre_tokenizer_of(metaspace(PrependScheme::always, true)), "a b  c"),
              ElementsAre("▁a", "▁b", "▁", "▁c"));
  EXPECT_THAT(run(pre_tokenizer_of(metaspace(PrependScheme::always, false)), "a b"), ElementsAre("▁a▁b"));
  EXPECT_THAT(run(pre_tokenizer_of(metaspace(PrependScheme::always, true)), " a"), ElementsAre("▁a"));
  EXPECT_THAT(run(pre_tokenizer_of(metaspace(PrependScheme::never, true)), "a b"), ElementsAre("a", "▁b"));
  EXPECT_THAT(run(pre_tokenizer_of(metaspace(PrependScheme::first, true)), "a b"), ElementsAre("▁a", "▁b"));
  EXPECT_THAT(run(pre_tokenizer_of(metaspace(PrependScheme::first, true)), "a b", /*begins_text=*/false),
              ElementsAre("a", "▁b"));
}

TEST(PreTokenizerTest, MetaspaceAfterACut) {
  SplitStep cut{TextPattern::literal("-"), SplitBehavior::removed, false};
  EXPECT_THAT(run(pre_tokenizer_of(std::move(cut), metaspace(PrependScheme::first, false)), "a-b"),
              ElementsAre("▁a", "b"));
  SplitStep other{TextPattern::literal("-"), SplitBehavior::removed, false};
  EXPECT_THAT(run(pre_tokenizer_of(std::move(other), metaspace(PrependScheme::first, false)), "-b"),
              ElementsAre("b"))
      << "the beginning is gone";
}

TEST(PreTokenizerTest, ByteLevelLastLeavesBytesRaw) {
  const PreTokenizer last = pre_tokenizer_of(ByteLevelStep{true, TextPattern::regex(gpt2_pattern())});
  EXPECT_TRUE(last.leaves_raw_bytes());
  EXPECT_THAT(run(last, "é's"), ElementsAre(" é", "'s"));
  const PreTokenizer inside = pre_tokenizer_of(ByteLevelStep{false, std::nullopt},
                                               CharacterSplitStep{is_numeric, SplitBehavior::isolated});
  EXPECT_FALSE(inside.leaves_raw_bytes());
  EXPECT_THAT(run(inside, "ü2"), ElementsAre("Ã", "¼", "2"))
      << "¼, the alphabet's character of a byte, is a number";
}

}  // namespace
}  // namespace sinkstream
