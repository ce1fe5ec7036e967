#include "text/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/patience.h"
#include "tests/temporary_directory.h"
#include "tests/text/tokenizer/demo_tokenizer.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<TokenId> encode_plain(std::string_view text, std::string_view literal_mark = {}) {
  return demo_tokenizer().encode(text, {.add_special_tokens = false, .literal_mark = literal_mark});
}

TEST(TokenizerTest, EveryDemoCaseBothWays) {
  std::ifstream file(test_data_dir() / "tokenizers/demo/cases.jsonl");
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const auto golden = nlohmann::json::parse(line);
    const std::string text = golden["text"];
    const std::vector<TokenId> ids = golden["ids"];
    EXPECT_EQ(encode_plain(text), ids) << "text: " << text;
    EXPECT_EQ(demo_tokenizer().decode(ids, true), golden["decoded"].get<std::string>());
  }
  EXPECT_EQ(cases, 170);
}

TEST(TokenizerTest, PlainByteLevelModel) {
  const Tokenizer tokenizer = Tokenizer::load(test_data_dir() / "models/llama-gqa/tokenizer.json");
  EXPECT_EQ(tokenizer.vocab_size(), 256);
  EXPECT_THAT(tokenizer.special_token_names(), IsEmpty());
  const std::vector<TokenId> ids = tokenizer.encode("Hi é");
  EXPECT_EQ(ids.size(), 5u);
  EXPECT_EQ(tokenizer.decode(ids, true), "Hi é");
}

TEST(TokenizerTest, SpecialTokens) {
  EXPECT_THAT(demo_tokenizer().special_token_names(),
              ElementsAre("<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"));
  EXPECT_EQ(demo_tokenizer().encode("")[0], 0);
  EXPECT_THAT(encode_plain("<|user|><|end|>"), ElementsAre(2, 1));
  EXPECT_EQ(demo_tokenizer().decode(std::vector<TokenId>{2, 44, 458, 83, 1}, true), "Hello");
  EXPECT_EQ(demo_tokenizer().decode(std::vector<TokenId>{2, 44, 458, 83, 1}, false), "<|user|>Hello<|end|>");
  EXPECT_TRUE(demo_tokenizer().is_special(4));
  EXPECT_FALSE(demo_tokenizer().is_special(5));
}

TEST(TokenizerTest, MarkedNamesAreText) {
  const std::string mark = "\uE000";
  const std::vector<TokenId> literal = encode_plain("<" + mark + "|end|>", mark);
  EXPECT_THAT(literal, ::testing::Not(Contains(1)));
  EXPECT_EQ(demo_tokenizer().decode(literal, true), "<|end|>");
  EXPECT_EQ(encode_plain("one " + mark + mark + "two" + mark, mark), encode_plain("one two"))
      << "the mark leaves no trace, also in how the text is cut";
  EXPECT_THAT(encode_plain(mark, mark), IsEmpty());
}

// Marks keep a special token's name apart also where it is looked for in normalized text.
TEST(TokenizerTest, MarksOutliveNormalizing) {
  const TemporaryDirectory directory;
  const Tokenizer tokenizer = Tokenizer::load(directory.write("tokenizer.json", R"({
    "added_tokens": [{"id": 5, "content": "<s>", "special": true, "normalized": true}],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "model": {"type": "BPE", "vocab": {"▁": 0, "<": 1, "s": 2, ">": 3, "a": 4}, "merges": []}
  })"));
  EXPECT_THAT(tokenizer.encode("<s>a <s>"), ElementsAre(5, 4, 5))
      << "each with the space that it is normalized to";
  EXPECT_THAT(tokenizer.encode("<s>a <#s>", {.literal_mark = "#"}), ElementsAre(5, 4, 0, 1, 2, 3));
  EXPECT_FALSE(tokenizer.hides_special_names("<#s>"));
  EXPECT_TRUE(tokenizer.is_special(5));
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{4, 5}, true), "a ▁<s>")
      << "the library leaves out only what decodes to a special token's name";
}

TEST(TokenizerTest, LookUps) {
  EXPECT_EQ(demo_tokenizer().vocab_size(), 4096);
  EXPECT_EQ(demo_tokenizer().find("<|end|>"), 1);
  EXPECT_EQ(demo_tokenizer().find("no such token"), std::nullopt);
  const TokenId the = demo_tokenizer().find("Ġthe").value();
  EXPECT_EQ(demo_tokenizer().token_string(the), "Ġthe");
  EXPECT_EQ(demo_tokenizer().token_bytes(the), " the");
  EXPECT_EQ(demo_tokenizer().token_bytes(1), "<|end|>");
}

TEST(TokenizerTest, UnknownIdsGiveNothing) {
  EXPECT_EQ(demo_tokenizer().decode(std::vector<TokenId>{-1, 4096, INT32_MAX, INT32_MIN, 44}, false), "H");
  EXPECT_EQ(demo_tokenizer().token_bytes(-7), "");
  EXPECT_EQ(demo_tokenizer().token_string(4096), "");
  EXPECT_FALSE(demo_tokenizer().is_special(INT32_MIN));
}

TEST(TokenizerTest, AnyBytesComeBackAsValidText) {
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    std::string bytes(random() % 40, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    EXPECT_EQ(demo_tokenizer().decode(encode_plain(bytes), false), to_valid_utf8(bytes));
  }
}

TEST(TokenizerTest, NulIsACharacter) {
  const std::string text("a\0b", 3);
  EXPECT_EQ(demo_tokenizer().decode(encode_plain(text), false), text);
}

std::string repeated(std::string_view unit, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += unit;
  return text;
}

// Each takes a quarter of a second; quadratic work would take hours.
TEST(TokenizerTest, HostileTextsTakeNearLinearTime) {
  for (const char* unit : {"a", "the", "\u0301", "<|assistant|", "<|end|>", " ", " \n", "1", "!", "\xFF",
                           "👩‍👩‍👧"}) {
    const std::string text = repeated(unit, 1 << 20);
    const double start = processor_seconds();
    const std::vector<TokenId> tokens = encode_plain(text);
    EXPECT_EQ(demo_tokenizer().decode(tokens, false), to_valid_utf8(text));
    EXPECT_LT(processor_seconds() - start, 30) << "unit: " << unit;
  }
}

TEST(TokenizerTest, ThreadsShareOneTokenizer) {
  const std::string text = repeated("The hound of the Baskervilles, 1902. ", 20000);
  const std::vector<TokenId> expected = encode_plain(text);
  std::vector<std::vector<TokenId>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) threads.emplace_back([&result, &text] { result = encode_plain(text); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

}  // namespace
}  // namespace sinkstream
