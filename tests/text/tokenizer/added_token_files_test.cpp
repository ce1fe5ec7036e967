// The files beside a tokenizer.json; what is expected was seen with transformers 5.24.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "tests/temporary_directory.h"
#include "text/tokenizer/tokenizer.h"

namespace sinkstream {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class AddedTokenFilesTest : public ::testing::Test {
 protected:
  AddedTokenFilesTest() { clear(); }

  void clear() const {
    for (const auto& file : std::filesystem::directory_iterator(directory_.path())) remove(file.path());
    write("tokenizer.json", json::parse(R"({
      "added_tokens": [{"id": 4, "content": "<end>", "special": true}],
      "decoder": {"type": "Fuse"},
      "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "x": 3}, "merges": [["a", "b"]]}})"));
  }
  void write(const std::string& name, const json& value) const { directory_.write(name, value.dump()); }
  void config(const std::string& text) const { write("tokenizer_config.json", json::parse(text)); }
  Tokenizer load() const { return Tokenizer::load(directory_.path() / "tokenizer.json"); }

  std::string complaint() const {
    try {
      load();
      return "no complaint";
    } catch (const StartupError& error) {
      EXPECT_EQ(error.code(), ExitCode::model);
      return error.what();
    }
  }

  const TemporaryDirectory directory_;
};

TEST_F(AddedTokenFilesTest, TheConfigurationsTokensInTheOrderOfTheirIds) {
  config(
      R"({"added_tokens_decoder": {"10": {"content": "<j>", "special": true}, "5": {"content": "<e>", "special": true},
    "6": {"content": "<f>", "special": false, "normalized": false}, "7": {"content": "<g>", "special": true},
    "8": {"content": "<h>", "special": true}, "9": {"content": "<i>", "special": true}}})");
  const Tokenizer tokenizer = load();
  EXPECT_THAT(tokenizer.encode("ab<f>ab<e><j><end>"), ElementsAre(2, 6, 2, 5, 10, 4));
  EXPECT_TRUE(tokenizer.is_special(5));
  EXPECT_FALSE(tokenizer.is_special(6));
  EXPECT_EQ(tokenizer.vocab_size(), 11);
}

TEST_F(AddedTokenFilesTest, TheConfigurationsFlagsCount) {
  config(
      R"({"added_tokens_decoder": {"4": {"content": "<end>", "special": false, "rstrip": true, "normalized": false},
    "3": {"content": "x", "special": true}}})");
  const Tokenizer tokenizer = load();
  EXPECT_FALSE(tokenizer.is_special(4));
  EXPECT_TRUE(tokenizer.is_special(3));
  EXPECT_THAT(tokenizer.encode("<end>   ab"), ElementsAre(4, 2));
}

TEST_F(AddedTokenFilesTest, AddedTokensJsonAndSpecialTokensMap) {
  write("added_tokens.json", {{"<im>", 5}, {"<q>", 6}});
  write("special_tokens_map.json", {{"eos_token", {{"content", "<im>"}}}, {"pad_token", "<p>"}});
  config(R"({"additional_special_tokens": ["<e1>"]})");
  const Tokenizer tokenizer = load();
  EXPECT_THAT(tokenizer.encode("<im><q><p><e1>"), ElementsAre(5, 6, 7, 8));
  EXPECT_TRUE(tokenizer.is_special(5));
  EXPECT_FALSE(tokenizer.is_special(6));
  EXPECT_TRUE(tokenizer.is_special(7));
  EXPECT_TRUE(tokenizer.is_special(8));
}

TEST_F(AddedTokenFilesTest, WithADecoderTheOlderFilesDoNotCount) {
  config(R"({"added_tokens_decoder": {"5": {"content": "<z>", "special": false}}, "eos_token": "<z>"})");
  write("added_tokens.json", {{"<im>", 6}});
  write("special_tokens_map.json", {{"pad_token", "<p>"}});
  const Tokenizer tokenizer = load();
  EXPECT_EQ(tokenizer.vocab_size(), 6);
  EXPECT_TRUE(tokenizer.is_special(5)) << "it is named";
}

TEST_F(AddedTokenFilesTest, NamedTokens) {
  config(
      R"({"mask_token": "<m>", "bos_token": {"content": "<b>", "lstrip": true}, "eos_token": "x", "image_token": "<i>",
    "add_bos_token": true, "extra_special_tokens": ["<e2>", {"content": "<e1>"}]})");
  const Tokenizer tokenizer = load();
  EXPECT_EQ(tokenizer.find("<b>"), 5);
  EXPECT_EQ(tokenizer.find("<m>"), 6);
  EXPECT_EQ(tokenizer.find("<i>"), 7);
  EXPECT_EQ(tokenizer.find("<e2>"), 8);
  EXPECT_EQ(tokenizer.find("<e1>"), 9);
  EXPECT_TRUE(tokenizer.is_special(3));
  EXPECT_THAT(tokenizer.encode("ab   <b>"), ElementsAre(2, 5));
  clear();
  config(R"({"extra_special_tokens": {"image_token": "<img>"}})");
  EXPECT_EQ(load().find("<img>"), 5);
}

TEST_F(AddedTokenFilesTest, DisagreementsAreRefusedByName) {
  config(R"({"added_tokens_decoder": {"4": {"content": "<im>", "special": true}}})");
  EXPECT_THAT(complaint(),
              HasSubstr("tokenizer_config.json: added_tokens_decoder.4: \"<im>\" has the id 4 of \"<end>\""));
  config(R"({"added_tokens_decoder": {"7": {"content": "<end>", "special": true}}})");
  EXPECT_THAT(complaint(), HasSubstr("added_tokens_decoder.7: \"<end>\" has the id"));
  config(R"({"added_tokens_decoder": {"9": {"content": "<im>", "special": true}}})");
  EXPECT_THAT(complaint(), HasSubstr("added_tokens_decoder.9: \"<im>\" has the id"));
  config(R"({"added_tokens_decoder": {"3": {"content": "ab", "special": true}}})");
  EXPECT_THAT(complaint(), HasSubstr("added_tokens_decoder.3: "));
  config(R"({"added_tokens_decoder": {"five": {"content": "<im>"}}})");
  EXPECT_THAT(complaint(), HasSubstr("is no token id"));
  config(R"({"added_tokens_decoder": {"5": "<im>"}})");
  EXPECT_THAT(complaint(), HasSubstr("added_tokens_decoder.5: must be an object"));
  config(R"({"a_token": "<a>", "b_token": "<b>"})");
  EXPECT_THAT(complaint(), HasSubstr("b_token: \"<b>\" has no id"));
  config("{}");
  write("added_tokens.json", {{"<im>", 4}});
  EXPECT_THAT(complaint(), HasSubstr("added_tokens.json: <im>: \"<im>\" has the id 4 of \"<end>\""));
}

}  // namespace
}  // namespace sinkstream
