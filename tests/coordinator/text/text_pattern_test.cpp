#include "coordinator/text/text_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "coordinator/text/oniguruma.h"
#include "coordinator/text/pre_tokenizer.h"

namespace sinkstream {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> pieces(const TextPattern& pattern, const std::string& text) {
  std::vector<std::size_t> ends;
  pattern.append_piece_ends(text, 0, ends);
  std::vector<std::string> result;
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    result.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  EXPECT_EQ(begin, text.size());
  return result;
}

TEST(TextPatternTest, MatchesAndWhatIsBetween) {
  const TextPattern digits = TextPattern::regex("[0-9]+");
  EXPECT_THAT(pieces(digits, "a12b3"), ElementsAre("a", "12", "b", "3"));
  EXPECT_THAT(pieces(digits, "12"), ElementsAre("12"));
  EXPECT_THAT(pieces(digits, "none"), ElementsAre("none"));
  EXPECT_THAT(pieces(digits, ""), IsEmpty());
}

TEST(TextPatternTest, EmptyMatchesCutAndEnd) {
  EXPECT_THAT(pieces(TextPattern::regex("x*"), "aéxxb"), ElementsAre("a", "é", "xx", "b"));
  EXPECT_THAT(pieces(TextPattern::regex("(?=b)"), "abab"), ElementsAre("a", "ba", "b"));
}

TEST(TextPatternTest, LiteralIsNoExpression) {
  EXPECT_THAT(pieces(TextPattern::literal("a.*"), "xa.*yab"), ElementsAre("x", "a.*", "yab"));
}

TEST(TextPatternTest, Gpt2Pattern) {
  const TextPattern pattern = TextPattern::regex(gpt2_pattern());
  EXPECT_THAT(pieces(pattern, "I've 2 cats,  ok?\n\n x"),
              ElementsAre("I", "'ve", " 2", " cats", ",", " ", " ok", "?", "\n\n", " x"));
  EXPECT_THAT(pieces(pattern, "naïve 東京 ٣² 👍🏽"),
              ElementsAre("naïve", " 東京", " ٣²", " 👍🏽"));
}

// Where PCRE2 alone would answer otherwise than Oniguruma.
TEST(TextPatternTest, OnigurumaMeaning) {
  EXPECT_FALSE(TextPattern::regex("\\s").matches("\u180E")) << "Mongolian vowel separator";
  EXPECT_TRUE(TextPattern::regex("\\s").matches("\u00A0"));
  EXPECT_TRUE(TextPattern::regex("\\s").matches("\u0085"));
  EXPECT_TRUE(TextPattern::regex("\\w").matches("\u203F")) << "connecting punctuation";
  EXPECT_TRUE(TextPattern::regex("\\w").matches("\u0301")) << "combining mark";
  EXPECT_TRUE(TextPattern::regex("[\\w-]+").matches("é_-9"));
  EXPECT_FALSE(TextPattern::regex("\\W").matches("\u203F"));
  EXPECT_FALSE(TextPattern::regex("\\v").matches("\n"));
  EXPECT_TRUE(TextPattern::regex("\\u0041\\x{42}").matches("AB"));
  EXPECT_TRUE(TextPattern::regex("(?i:'s)").matches("'ſ"));
  EXPECT_THAT(pieces(TextPattern::regex("^b"), "a\nb"), ElementsAre("a\n", "b")) << "^ after every line end";
}

TEST(TextPatternTest, WithoutEquivalentRefusedByName) {
  const auto message = [](const std::string& expression) -> std::string {
    try {
      TextPattern::regex(expression);
      return "no error";
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
  };
  EXPECT_THAT(message("a\\h"), HasSubstr("\"\\h\" at character 2"));
  EXPECT_THAT(message("\\1"), HasSubstr("\\1"));
  EXPECT_THAT(message("[a&&b]"), HasSubstr("&&"));
  EXPECT_THAT(message("[a[b]]"), HasSubstr("inside a character class"));
  EXPECT_THAT(message("a{1,3}+"), HasSubstr("}+"));
  EXPECT_THAT(message("(?m)a"), HasSubstr("(?m"));
  EXPECT_THAT(message("(*VERB)"), HasSubstr("(*V"));
  EXPECT_THAT(message("\\p{Nonsense}"), HasSubstr("wrong"));
  EXPECT_THAT(message("(a"), HasSubstr("wrong"));
  EXPECT_THAT(message("a\\"), HasSubstr("not supported"));
  EXPECT_THAT(message("\\pL"), HasSubstr("without braces"));
  EXPECT_THAT(message(std::string(60000, '(')), HasSubstr("wrong")) << "deep nesting";
}

TEST(TextPatternTest, AnExplodingExpressionGivesUp) {
  const TextPattern pattern = TextPattern::regex("(a|aa|aaa)+[!?]");
  EXPECT_THROW(pieces(pattern, std::string(200, 'a')), std::runtime_error);
}

TEST(TextPatternTest, LongTextsNeedNoDeepStack) {
  const std::string text(1 << 20, 'a');
  EXPECT_THAT(pieces(TextPattern::regex("(?:a|b)+"), text), ElementsAre(text));
}

}  // namespace
}  // namespace sinkstream
