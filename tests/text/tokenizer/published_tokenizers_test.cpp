// Published tokenizers, and composed ones, against what the `tokenizers` library gives.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/patience.h"
#include "tests/temporary_directory.h"
#include "text/chat/chat_template.h"
#include "text/tokenizer/tokenizer.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

using nlohmann::json;

const std::filesystem::path kFolder = PUBLISHED_TOKENIZERS_DIR;

std::string streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, bool skip_special_tokens) {
  TextDecoder decoder(tokenizer, skip_special_tokens);
  std::string text;
  for (const TokenId id : ids) {
    const std::string piece = decoder.push(id);
    EXPECT_TRUE(is_valid_utf8(piece));
    text += piece;
  }
  return text + decoder.finish();
}

class PublishedTokenizerTest : public ::testing::TestWithParam<const char*> {
 protected:
  const Tokenizer tokenizer = Tokenizer::load(kFolder / GetParam() / "tokenizer.json");
};

TEST_P(PublishedTokenizerTest, EveryCaseBothWays) {
  std::ifstream file(kFolder / GetParam() / "cases.jsonl");
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const json golden = json::parse(line);
    const std::vector<TokenId> ids = golden["ids"];
    const std::string decoded = golden["decoded"];
    EXPECT_EQ(tokenizer.encode(golden["text"].get<std::string>(), {.add_special_tokens = false}), ids)
        << line;
    EXPECT_EQ(tokenizer.decode(ids, false), decoded);
    EXPECT_EQ(streamed(tokenizer, ids, false), decoded);
  }
  EXPECT_EQ(cases, 170);
}

// Each takes a fraction of a second; quadratic work would take hours.
TEST_P(PublishedTokenizerTest, HostileTextsTakeNearLinearTime) {
  for (const char* unit : {"a", "the", "\u0301", "\u0301\u0323", "<|endoftext|", "</s", "  ", " \n", "1", "!",
                           "\xFF", "▁", "👩‍👩‍👧", "日", "\U00031350"}) {
    std::string text;
    while (text.size() < (1 << 20)) text += unit;
    const double start = processor_seconds();
    const std::vector<TokenId> ids = tokenizer.encode(text, {.add_special_tokens = false});
    tokenizer.decode(ids, false);
    EXPECT_LT(processor_seconds() - start, 30) << "unit: " << unit;
  }
}

INSTANTIATE_TEST_SUITE_P(Published, PublishedTokenizerTest,
                         ::testing::Values("falcon", "gpt-2", "gpt-neox", "llama-spm"));

// A fine-tune that adds ChatML's tokens in tokenizer_config.json alone; transformers 5.24 gives these ids.
TEST(FineTunedTokenizerTest, TokensThatOnlyItsConfigurationDefinesAreSingleOnes) {
  const TemporaryDirectory directory;
  std::filesystem::copy_file(kFolder / "llama-spm/tokenizer.json", directory.path() / "tokenizer.json");
  const auto load = [&] { return Tokenizer::load(directory.path() / "tokenizer.json"); };
  const auto encode_chat = [&](const Tokenizer& tokenizer) {
    const auto messages = nlohmann::ordered_json::parse(R"([{"role": "user", "content": "Hi"}])");
    const std::string prompt = ChatTemplate::load(directory.path()).render({.messages = messages});
    return tokenizer.encode(prompt, {.add_special_tokens = false});
  };
  json config = {
      {"chat_template",
       "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
       "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"}};
  directory.write("tokenizer_config.json", config.dump());
  EXPECT_EQ(encode_chat(load()).size(), 28u) << "the names in pieces";

  config["added_tokens_decoder"] = {{"32000", {{"content", "<|im_end|>"}, {"special", true}}},
                                    {"32001", {{"content", "<|im_start|>"}, {"special", true}}}};
  config["eos_token"] = "<|im_end|>";
  directory.write("tokenizer_config.json", config.dump());
  const Tokenizer tokenizer = load();
  EXPECT_EQ(encode_chat(tokenizer),
            (std::vector<TokenId>{32001, 1404, 13, 18567, 32000, 29871, 13, 32001, 20255, 13}));
  EXPECT_EQ(tokenizer.vocab_size(), 32002);
  EXPECT_EQ(tokenizer.find("<|im_end|>"), 32000);
}

// Random combinations of steps and settings, made by make_tokenizer_cases.py.
TEST(ComposedTokenizersTest, EveryCase) {
  const json models = json::parse(std::ifstream(kFolder / "composed" / "models.json"));
  const json tokenizers = json::parse(std::ifstream(kFolder / "composed" / "cases.json"));
  const TemporaryDirectory directory;
  ASSERT_GE(tokenizers.size(), 200u);
  for (const json& entry : tokenizers) {
    json file = entry["tokenizer"];
    const std::string settings = file.dump();
    file["model"].update(models[entry["model"].get<std::string>()]);
    const Tokenizer tokenizer = Tokenizer::load(directory.write("tokenizer.json", file.dump()));
    for (const json& golden : entry["encode"]) {
      const std::string text = golden["text"];
      EXPECT_EQ(tokenizer.encode(text), golden["ids"].get<std::vector<TokenId>>()) << text << "\n"
                                                                                   << settings;
    }
    for (const json& golden : entry["decode"]) {
      const std::vector<TokenId> ids = golden["ids"];
      EXPECT_EQ(tokenizer.decode(ids, true), golden["text"].get<std::string>()) << golden << "\n" << settings;
      EXPECT_EQ(tokenizer.decode(ids, false), golden["whole"].get<std::string>()) << golden << "\n" << settings;
      EXPECT_EQ(streamed(tokenizer, ids, true), golden["text"].get<std::string>()) << golden << "\n" << settings;
      EXPECT_EQ(streamed(tokenizer, ids, false), golden["whole"].get<std::string>()) << golden << "\n" << settings;
    }
  }
}

}  // namespace
}  // namespace sinkstream
