#include "text/unicode/utf8.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "text/tokenizer/steps/byte_level.h"

namespace sinkstream {
namespace {

constexpr const char* kBad = "\xEF\xBF\xBD";  // U+FFFD

std::string with_bad(std::string_view pattern) {  // '?' stands for U+FFFD
  std::string text;
  for (const char c : pattern) text += c == '?' ? std::string(kBad) : std::string(1, c);
  return text;
}

TEST(Utf8Test, EveryCodePointSurvives) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_utf8(text, c);
    const Utf8Step step = first_character(text);
    ASSERT_EQ(step.status, Utf8Status::valid);
    ASSERT_EQ(step.length, text.size());
    ASSERT_EQ(step.code_point, c);
  }
}

TEST(Utf8Test, EveryLongestBrokenPieceBecomesOneReplacement) {
  const std::pair<std::string, std::string> cases[] = {
      {"a\x80z", "a?z"},                                  // a continuation byte alone
      {"\xC0\xAF", "??"},                                 // overlong "/"
      {"\xE0\x80\xAF", "???"},                            // overlong, three bytes
      {"\xED\xA0\x80", "???"},                            // a surrogate
      {"\xF4\x90\x80\x80", "????"},                       // beyond U+10FFFF
      {"\xF5\xFF\xFE", "???"},                            // never lead bytes
      {"\xE2\x82", "?"},                                  // cut short
      {"\xE2\x82(", "?("},                                // broken after two bytes
      {"\xF0\x9F\x98", "?"},                              // three of four bytes
      {"\xF0\x9F\xF0\x9F\x98\x80", "?\xF0\x9F\x98\x80"},  // broken by a whole character
      {"\xC3", "?"},
      {"", ""},
  };
  for (const auto& [bytes, expected] : cases) {
    EXPECT_EQ(to_valid_utf8(bytes), with_bad(expected));
    EXPECT_TRUE(is_valid_utf8(to_valid_utf8(bytes)));
    EXPECT_EQ(is_valid_utf8(bytes), bytes.empty());
  }
}

TEST(Utf8Test, AnythingBecomesValidAndStaysTheSameAfterwards) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 20, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    const std::string valid = to_valid_utf8(bytes);
    EXPECT_TRUE(is_valid_utf8(valid));
    EXPECT_EQ(to_valid_utf8(valid), valid);
    EXPECT_EQ(valid == bytes, is_valid_utf8(bytes));
  }
}

TEST(ByteLevelTest, EveryByteHasItsCharacterAndBack) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  std::string text;
  append_byte_level(bytes, text);
  EXPECT_TRUE(is_valid_utf8(text));
  EXPECT_EQ(text.find(' '), std::string::npos);
  EXPECT_EQ(from_byte_level(text), bytes);
}

TEST(ByteLevelTest, KnownCharacters) {
  std::string text;
  append_byte_level(" the\n", text);
  EXPECT_EQ(text, "ĠtheĊ");
  EXPECT_EQ(from_byte_level("Ġthe"), " the");
  EXPECT_EQ(from_byte_level("two words"), "two words") << "a space is not in the alphabet: the text as it is";
  EXPECT_EQ(from_byte_level("<｜begin｜>"), "<｜begin｜>");
}

}  // namespace
}  // namespace sinkstream
