#include "text/tokenizer/steps/normalizer.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/patience.h"
#include "text/unicode/character_class.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

template <typename... Steps>
Normalizer normalizer_of(Steps... steps) {
  std::vector<NormalizerStep> list;
  (list.emplace_back(std::move(steps)), ...);
  return Normalizer(std::move(list));
}

TEST(NormalFormTest, TheFourForms) {
  const std::string text = "e\u0301 \u00E9 \uFB01 \u212B \uAC00 \u1E9B\u0323";
  EXPECT_EQ(normalize(text, NormalForm::nfc), "\u00E9 \u00E9 \uFB01 \u00C5 \uAC00 \u1E9B\u0323");
  EXPECT_EQ(normalize(text, NormalForm::nfd),
            "e\u0301 e\u0301 \uFB01 A\u030A \u1100\u1161 \u017F\u0323\u0307");
  EXPECT_EQ(normalize(text, NormalForm::nfkc), "\u00E9 \u00E9 fi \u00C5 \uAC00 \u1E69");
  EXPECT_EQ(normalize(text, NormalForm::nfkd), "e\u0301 e\u0301 fi A\u030A \u1100\u1161 s\u0323\u0307");
  EXPECT_EQ(normalize("", NormalForm::nfc), "");
}

TEST(NormalFormTest, CharactersNewerThanUnicode9StayAsTheyAre) {
  EXPECT_EQ(normalize("\u32FF", NormalForm::nfkc), "\u32FF") << "square era name Reiwa, of 2019";
  EXPECT_EQ(normalize("\U00011938", NormalForm::nfd), "\U00011938");
}

// Long runs take another way; any cut of the run into short ones must give the same.
TEST(NormalFormTest, LongRunsOfMarksComeInOrder) {
  std::mt19937 random(5);
  const char32_t marks[] = {0x301, 0x323, 0x344, 0x327, 0x30A, 0x5B0, 0x64B};
  std::string run, decomposed;
  std::vector<std::pair<int, std::string>> expected;
  for (int i = 0; i < 200; ++i) {
    const char32_t mark = marks[random() % std::size(marks)];
    append_utf8(run, mark);
    // By combining class: 0327 is 202, 0323 is 220, 0301, 030A and both parts of 0344 are 230, Hebrew 10,
    // Arabic 27.
    const int order = mark == 0x5B0   ? 10
                      : mark == 0x64B ? 27
                      : mark == 0x327 ? 202
                      : mark == 0x323 ? 220
                                      : 230;
    std::string text;
    if (mark == 0x344) {
      text = "\u0308\u0301";
    } else {
      append_utf8(text, mark);
    }
    expected.emplace_back(order, text);
  }
  std::stable_sort(expected.begin(), expected.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [order, text] : expected) decomposed += text;
  EXPECT_EQ(normalize("x" + run, NormalForm::nfd), "x" + decomposed);
}

TEST(NormalFormTest, MarksOutOfOrderTakeLinearTime) {
  std::string text = "x";
  while (text.size() < (1 << 20)) text += "\u0301\u0323";
  for (const NormalForm form : {NormalForm::nfc, NormalForm::nfd, NormalForm::nfkc, NormalForm::nfkd}) {
    const double start = processor_seconds();
    const std::string normal = normalize(text, form);
    EXPECT_LT(processor_seconds() - start, 20);
    EXPECT_GE(normal.size(), text.size() - 4);
  }
}

TEST(NormalizerTest, Steps) {
  EXPECT_EQ(normalizer_of(PrependStep{"▁"}).run("a").text, "▁a");
  EXPECT_EQ(normalizer_of(PrependStep{"▁"}).run("").text, "");
  EXPECT_EQ(normalizer_of(ReplaceStep{TextPattern::literal(" "), "▁"}).run(" a b").text, "▁a▁b");
  EXPECT_EQ(normalizer_of(ReplaceStep{TextPattern::regex("[ab]+"), ""}).run("abcba").text, "c");
  EXPECT_EQ(normalizer_of(StripSpaceStep{true, true}).run(" \u3000a b\n ").text, "a b");
  EXPECT_EQ(normalizer_of(StripSpaceStep{true, false}).run(" a ").text, "a ");
  EXPECT_EQ(normalizer_of(StripSpaceStep{true, true}).run(" \n ").text, "");
  EXPECT_EQ(normalizer_of(LowercaseStep{}).run("ÀΣΑΣ İ ẞ").text, "àσασ i\u0307 ß")
      << "no final sigma: each on its own";
  EXPECT_EQ(normalizer_of(NormalForm::nfd, StripAccentsStep{}).run("né\u0903").text, "ne");
  EXPECT_EQ(normalizer_of(CleanControlsStep{}).run(std::string("a\x01\tb\u200B\uFEFF\x7F", 11)).text,
            "a b  ");
  EXPECT_EQ(normalizer_of(ByteAlphabetStep{}).run(" é").text, "ĠÃ©");
}

TEST(NormalizerTest, WhetherTheBeginningIsStillThere) {
  EXPECT_TRUE(normalizer_of(PrependStep{"x"}).run("a").same_beginning);
  EXPECT_FALSE(normalizer_of(StripSpaceStep{true, false}).run(" a").same_beginning);
  EXPECT_TRUE(normalizer_of(StripSpaceStep{true, true}).run("a ").same_beginning);
  EXPECT_TRUE(normalizer_of(ReplaceStep{TextPattern::literal(" "), "▁"}).run(" a").same_beginning);
  EXPECT_FALSE(normalizer_of(ReplaceStep{TextPattern::literal("ab"), "x"}).run("abc").same_beginning);
  EXPECT_FALSE(normalizer_of(ReplaceStep{TextPattern::literal("a"), ""}).run("abc").same_beginning);
  EXPECT_FALSE(normalizer_of(CleanControlsStep{}).run("\x01z").same_beginning);
}

TEST(NormalizerTest, InsideATextNothingIsPrependedOrStripped) {
  EXPECT_EQ(normalizer_of(PrependStep{"▁"}, StripSpaceStep{true, true}, LowercaseStep{}).run_inside(" A "),
            " a ");
}

TEST(CharacterClassTest, AsTheLibrarySeesThem) {
  EXPECT_TRUE(is_numeric(U'7') && is_numeric(U'²') && is_numeric(U'Ⅷ') && is_numeric(U'٣'));
  EXPECT_TRUE(is_numeric(0x11DE0)) << "of Unicode 17";
  EXPECT_FALSE(is_numeric(U'a') || is_numeric(U'日'));
  EXPECT_TRUE(is_punctuation(U'.') && is_punctuation(U'$') && is_punctuation(U'。') &&
              is_punctuation(0x166D));
  EXPECT_FALSE(is_punctuation(U'€') || is_punctuation(U'a') || is_punctuation(U'7'));
  EXPECT_FALSE(is_punctuation(0x2E43)) << "of Unicode 9";
  EXPECT_TRUE(is_combining_mark(0x301) && is_combining_mark(0x903));
  EXPECT_FALSE(is_combining_mark(U'a') || is_combining_mark(0x1CF7)) << "of Unicode 10";
}

}  // namespace
}  // namespace sinkstream
