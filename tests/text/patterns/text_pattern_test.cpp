#include "text/patterns/text_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "text/patterns/oniguruma.h"
#include "text/tokenizer/steps/pre_tokenizer.h"

namespace sinkstream {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> pieces(const TextPattern& pattern, const std::string& text) {
  std::vector<Stretch> stretches;
  pattern.find(text, 0, stretches);
  std::vector<std::string> result;
  std::size_t done = 0;
  for (const auto& [begin, end, match] : stretches) {
    EXPECT_EQ(begin, done);
    done = end;
    if (end > begin) result.push_back(text.substr(begin, end - begin));
  }
  EXPECT_EQ(done, text.size());
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

TEST(TextPatternTest, Replace) {
  const auto replaced = [](const TextPattern& pattern, std::string_view text, std::string_view content) {
    std::string result;
    pattern.replace(text, content, result);
    return result;
  };
  EXPECT_EQ(replaced(TextPattern::literal(" "), " a  b", "▁"), "▁a▁▁b");
  EXPECT_EQ(replaced(TextPattern::literal("aa"), "aaaaa", "b"), "bba");
  EXPECT_EQ(replaced(TextPattern::regex(" {2,}"), "a   b c  ", "\\1$0"), "a\\1$0b c\\1$0")
      << "the content is literal";
  EXPECT_EQ(replaced(TextPattern::literal(""), "ab", "-"), "-a-b-");
  EXPECT_EQ(replaced(TextPattern::regex("x*"), "axb", "-"), "-a-b-")
      << "no empty match right after another match";
  EXPECT_EQ(replaced(TextPattern::literal("a"), "", "b"), "");
}

TEST(TextPatternTest, LengthAtTheBeginning) {
  EXPECT_EQ(TextPattern::regex("b+").length_at_beginning("bba"), 2u);
  EXPECT_EQ(TextPattern::regex("b+").length_at_beginning("abb"), std::nullopt);
  EXPECT_EQ(TextPattern::literal("ab").length_at_beginning("abc"), 2u);
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
  EXPECT_TRUE(TextPattern::regex("\\h\\H").matches("fg")) << "hexadecimal digits";
  EXPECT_TRUE(TextPattern::regex("a{,2}").matches("aa"));
  EXPECT_TRUE(TextPattern::regex("(?m:.)").matches("\n"));
  EXPECT_FALSE(TextPattern::regex(".").matches("\n"));
  EXPECT_TRUE(TextPattern::regex("\\w").matches("²"));
  EXPECT_FALSE(TextPattern::regex("[[:word:]]").matches("²"));
  EXPECT_FALSE(TextPattern::regex("[\\w]").matches("²"));
  EXPECT_TRUE(TextPattern::regex("[^\\w\\s]").matches("²"));
  EXPECT_TRUE(TextPattern::regex("[[:punct:]]+").matches("$.+"));
  EXPECT_TRUE(TextPattern::regex("\\p{Punct}").matches("."));
  EXPECT_FALSE(TextPattern::regex("\\p{Punct}").matches("$"));
  EXPECT_TRUE(TextPattern::regex("\\p{Letter}\\p{^Letter}\\p{Uppercase_Letter}").matches("a1B"));
  EXPECT_TRUE(TextPattern::regex("[^(\\s|[.,!?…])]").matches("x")) << "a class inside a class";
  EXPECT_TRUE(TextPattern::regex("\\p{Han}\\p{Hiragana}").matches("日そ"));
  EXPECT_FALSE(TextPattern::regex("\\p{Han}").matches("〔")) << "used in Han text, but common";
  EXPECT_THAT(pieces(TextPattern::regex("\\b"), "é́ 日"), ElementsAre("é́", " ", "日"));
}

// Unicode 15 and 16, which PCRE2's own tables lack.
TEST(TextPatternTest, NewerCharacters) {
  EXPECT_TRUE(TextPattern::regex("\\p{L}+").matches("\U0001E4D0\U00031350\U000105C0"));
  EXPECT_TRUE(TextPattern::regex("\\p{Han}").matches("\U00031350"));
  EXPECT_TRUE(TextPattern::regex("\\p{N}").matches("\U00010D40"));
  EXPECT_TRUE(TextPattern::regex("[^\\s\\p{L}\\p{N}]+").matches("\U0001FAE8\u1B4E"));
  EXPECT_THAT(pieces(TextPattern::regex("\\p{Lu}"), "\uA7DAx\U00010D50"),
              ElementsAre("\uA7DA", "x", "\U00010D50"));
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
  EXPECT_THAT(message("a\\G"), HasSubstr("\"\\G\" at character 2"));
  EXPECT_THAT(message("\\1"), HasSubstr("\\1"));
  EXPECT_THAT(message("[a&&b]"), HasSubstr("&&"));
  EXPECT_THAT(message("[a[^b]]"), HasSubstr("inside a character class"));
  EXPECT_THAT(message("[[:nonsense:]]"), HasSubstr("[:nonsense:]"));
  EXPECT_THAT(message("[a"), HasSubstr("wrong"));
  EXPECT_THAT(message("\\x80"), HasSubstr("\\x80"));
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
