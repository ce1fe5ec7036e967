#include "text/tokenizer/added_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sinkstream {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Flags {
  bool single_word = false, lstrip = false, rstrip = false;
};

AddedToken token(TokenId id, const std::string& content, Flags flags = {}) {
  return {id, content, true, flags.single_word, flags.lstrip, flags.rstrip, false};
}

// Text as it is, tokens as "[their text]".
std::vector<std::string> split(const std::vector<AddedToken>& tokens, const std::string& text) {
  std::vector<TextSpan> spans;
  AddedTokenMatcher(tokens, false).split(text, spans);
  std::vector<std::string> result;
  for (const TextSpan& span : spans) {
    const std::string part(span.text);
    result.push_back(span.token < 0 ? part : std::string("[").append(part).append("]"));
  }
  return result;
}

TEST(AddedTokensTest, LongestAtTheLeftmostPlace) {
  const std::vector<AddedToken> tokens = {token(0, "<a>"), token(1, "<a>b"), token(2, "bc"), token(3, "<")};
  EXPECT_THAT(split(tokens, "x<a>bc"), ElementsAre("x", "[<a>b]", "c"));
  EXPECT_THAT(split(tokens, "<a><a"), ElementsAre("[<a>]", "[<]", "a"));
  EXPECT_THAT(split(tokens, "bcbc"), ElementsAre("[bc]", "[bc]"));
  EXPECT_THAT(split(tokens, ""), IsEmpty());
  EXPECT_THAT(split({}, "plain"), ElementsAre("plain"));
}

TEST(AddedTokensTest, StripTakesWhiteSpaceAlong) {
  EXPECT_THAT(split({token(0, "<a>", {.lstrip = true})}, "x \u3000<a> y"),
              ElementsAre("x", "[ \u3000<a>]", " y"));
  EXPECT_THAT(split({token(0, "<a>", {.rstrip = true})}, "x <a> \n\u00A0y"),
              ElementsAre("x ", "[<a> \n\u00A0]", "y"));
  EXPECT_THAT(split({token(0, "<a>", {.lstrip = true, .rstrip = true})}, "<a>  <a>  "),
              ElementsAre("[<a>  ]", "[<a>  ]"));
}

// As in the tokenizers library.
TEST(AddedTokensTest, TokensInWhatAnotherHasTakenAlong) {
  const AddedToken cat = token(0, "cat", {.rstrip = true});
  EXPECT_THAT(split({cat, token(1, "  b")}, "cat   b"), ElementsAre("[cat   ]", "[  b]")) << "overlapping";
  EXPECT_THAT(split({cat, token(1, "  ")}, "cat     x"), ElementsAre("[cat     ]", "[  ]", "[  ]", " x"));
  EXPECT_THAT(split({cat, token(1, "  ", {.lstrip = true, .rstrip = true})}, "cat     x"),
              ElementsAre("[cat     ]", "x"))
      << "nothing is left of it";
}

TEST(AddedTokensTest, LongRunsOfSpaceTakeLinearTime) {
  const std::string spaces(1 << 20, ' ');
  std::vector<TextSpan> spans;
  AddedTokenMatcher({token(0, "  ", {.rstrip = true})}, false).split(spaces, spans);
  EXPECT_EQ(spans.size(), std::size_t{1} << 19);
  EXPECT_THAT(split({token(0, "x", {.lstrip = true, .rstrip = true})}, spaces + "x" + spaces),
              ::testing::SizeIs(1));
}

TEST(AddedTokensTest, NormalizedTokensAreFoundByTheirNormalForm) {
  AddedToken lower = token(0, "ABC");
  lower.normalized = true;
  lower.normal = "abc";
  std::vector<TextSpan> spans;
  AddedTokenMatcher({lower, token(1, "x")}, true).split("xabcABC", spans);
  ASSERT_EQ(spans.size(), 3u);
  EXPECT_EQ(spans[1].token, 0);
  EXPECT_EQ(spans[1].text, "abc");
}

TEST(AddedTokensTest, SingleWordsTouchNoWordCharacter) {
  const std::vector<AddedToken> tokens = {token(0, "cat", {.single_word = true})};
  EXPECT_THAT(split(tokens, "cat concat cats (cat) écat"),
              ElementsAre("[cat]", " concat cats (", "[cat]", ") écat"));
}

}  // namespace
}  // namespace sinkstream
