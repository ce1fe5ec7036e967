#include "text/tokenizer/byte_pair_encoding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <stdexcept>

namespace sinkstream {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<TokenId> encode(const BytePairEncoding& model, std::string_view piece) {
  std::vector<TokenId> tokens;
  model.encode(piece, tokens);
  return tokens;
}

Vocabulary vocabulary_of(const std::vector<std::string>& names) {
  Vocabulary vocabulary;
  for (const std::string& name : names) vocabulary.emplace(name, static_cast<TokenId>(vocabulary.size()));
  return vocabulary;
}

TEST(BytePairEncodingTest, LowestRankFirstThenLeftmost) {
  const BytePairEncoding model(vocabulary_of({"a", "b", "c", "ab", "bc", "aa", "abc"}),
                               {{"b", "c"}, {"a", "a"}, {"a", "b"}, {"ab", "c"}});
  EXPECT_THAT(encode(model, "abc"), ElementsAre(0, 4)) << "bc is older than ab";
  EXPECT_THAT(encode(model, "aaa"), ElementsAre(5, 0)) << "leftmost first";
  EXPECT_THAT(encode(model, "aab"), ElementsAre(5, 1));
  EXPECT_THAT(encode(model, "ab"), ElementsAre(3));
}

TEST(BytePairEncodingTest, IgnoreMergesTakesWholePieces) {
  const Vocabulary vocabulary = vocabulary_of({"a", "b", "ab", "aba"});
  EXPECT_THAT(encode(BytePairEncoding(vocabulary, {{"a", "b"}}), "aba"), ElementsAre(2, 0));
  EXPECT_THAT(encode(BytePairEncoding(vocabulary, {{"a", "b"}}, {.ignore_merges = true}), "aba"),
              ElementsAre(3));
}

TEST(BytePairEncodingTest, CharactersOutsideTheVocabularyGiveNothing) {
  const BytePairEncoding model(vocabulary_of({"a", "é", "日", "aa"}), {{"a", "a"}});
  EXPECT_THAT(encode(model, "é?日"), ElementsAre(1, 2));
  EXPECT_THAT(encode(model, "a?a"), ElementsAre(3))
      << "what is left are neighbours, as in the tokenizers library";
  EXPECT_THAT(encode(model, ""), IsEmpty());
}

TEST(BytePairEncodingTest, UnknownCharacters) {
  const Vocabulary vocabulary = vocabulary_of({"?", "a", "b", "<0xC3>", "<0xA9>", "aa"});
  const auto tokens = [&](std::string_view text, BytePairOptions options) {
    return encode(BytePairEncoding(vocabulary, {{"a", "a"}}, std::move(options)), text);
  };
  EXPECT_THAT(tokens("axya", {.unknown_token = "?"}), ElementsAre(1, 0, 0, 1));
  EXPECT_THAT(tokens("axya", {.unknown_token = "?", .fuse_unknown = true}), ElementsAre(1, 0, 1));
  EXPECT_THAT(tokens("aéa", {.unknown_token = "?", .byte_fallback = true}), ElementsAre(1, 3, 4, 1));
  EXPECT_THAT(tokens("a日a", {.unknown_token = "?", .byte_fallback = true}), ElementsAre(1, 0, 1))
      << "not all of its bytes are there";
  EXPECT_THAT(tokens("xéb", {.unknown_token = "?", .byte_fallback = true}), ElementsAre(3, 4, 0, 2))
      << "an unknown character shows only at the next known one, as in the tokenizers library";
  EXPECT_THAT(tokens("aéa", {.byte_fallback = false}), ElementsAre(5));
}

TEST(BytePairEncodingTest, AnUnknownTokenThatIsNotThereFailsOnlyWhenNeeded) {
  const BytePairEncoding model(vocabulary_of({"a"}), {}, {.unknown_token = "<unk>"});
  EXPECT_THAT(encode(model, "a"), ElementsAre(0));
  EXPECT_THROW(encode(model, "ab"), std::runtime_error);
}

TEST(BytePairEncodingTest, PrefixesAndSuffixes) {
  const BytePairEncoding prefixed(vocabulary_of({"a", "##b", "ab", "##c", "abc"}),
                                  {{"a", "##b"}, {"ab", "##c"}}, {.continuing_prefix = "##"});
  EXPECT_THAT(encode(prefixed, "abc"), ElementsAre(4));
  EXPECT_THAT(encode(prefixed, "abcb"), ElementsAre(4, 1));
  const BytePairEncoding suffixed(vocabulary_of({"a", "b</w>", "b", "ab</w>"}), {{"a", "b</w>"}},
                                  {.word_suffix = "</w>"});
  EXPECT_THAT(encode(suffixed, "ab"), ElementsAre(3));
  EXPECT_THAT(encode(suffixed, "bab"), ElementsAre(2, 3));
}

TEST(BytePairEncodingTest, RawBytesAreWrittenInTheByteLevelAlphabet) {
  const Vocabulary vocabulary = vocabulary_of({"a", "Ã", "©", "Ġ", "Ã©", "Ġa"});
  const BytePairEncoding model(vocabulary, {{"Ã", "©"}}, {.raw_bytes = true});
  EXPECT_THAT(encode(model, " aé\xA9"), ElementsAre(3, 0, 4, 2));
  const BytePairEncoding whole(vocabulary, {}, {.ignore_merges = true, .raw_bytes = true});
  EXPECT_THAT(encode(whole, " a"), ElementsAre(5));
}

TEST(BytePairEncodingTest, MergesMustBeInTheVocabulary) {
  const auto message = [](const BytePairEncoding::Merges& merges) -> std::string {
    try {
      BytePairEncoding(vocabulary_of({"a", "b"}), merges);
      return "no error";
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
  };
  EXPECT_THAT(message({{"a", "b"}}), HasSubstr("merges[0] needs \"ab\""));
  EXPECT_THAT(message({{"x", "b"}}), HasSubstr("merges[0] needs \"xb\""));
}

// "ab" is made of itself and nothing: no step towards it ever comes to an end of the chain.
TEST(BytePairEncodingTest, CyclicMergesEnd) {
  const BytePairEncoding model(vocabulary_of({"a", "b", "ab", "ba", "aba", ""}),
                               {{"ab", ""}, {"", "ab"}, {"a", "b"}, {"b", "a"}, {"ab", "a"}, {"a", "ba"}});
  EXPECT_THAT(encode(model, "aba"), ElementsAre(4));
  EXPECT_THAT(encode(model, std::string(1000, 'a')), ::testing::SizeIs(1000));
}

// What byte pair encoding means, without any cleverness.
std::vector<std::string> merge_naively(std::vector<std::string> symbols,
                                       const BytePairEncoding::Merges& merges) {
  while (true) {
    std::size_t best_rank = merges.size(), best = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      for (std::size_t rank = 0; rank < best_rank; ++rank) {
        if (merges[rank].first == symbols[i] && merges[rank].second == symbols[i + 1]) {
          best_rank = rank;
          best = i;
        }
      }
    }
    if (best_rank == merges.size()) return symbols;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(BytePairEncodingTest, ShortAndLongPiecesEqualTheDefinition) {
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> names = {"a", "b", "c"};
    BytePairEncoding::Merges merges;
    std::set<std::string> made;
    for (int i = 0; i < 12; ++i) {
      const auto merge = std::pair(names[random() % names.size()], names[random() % names.size()]);
      if (!made.insert(merge.first + merge.second).second) continue;
      merges.push_back(merge);
      names.push_back(merge.first + merge.second);
    }
    const BytePairEncoding model(vocabulary_of(names), merges);
    for (const std::size_t length : {1, 2, 7, 47, 48, 49, 50, 200}) {
      std::string piece;
      std::vector<std::string> symbols;
      for (std::size_t i = 0; i < length; ++i) {
        symbols.push_back(std::string(1, static_cast<char>('a' + random() % 3)));
        piece += symbols.back();
      }
      std::vector<TokenId> expected;
      for (const std::string& symbol : merge_naively(symbols, merges)) {
        expected.push_back(model.vocabulary().find(symbol)->second);
      }
      ASSERT_EQ(encode(model, piece), expected) << piece;
    }
  }
}

}  // namespace
}  // namespace sinkstream
