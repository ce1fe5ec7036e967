// Broken and foreign tokenizer files: each is refused, naming file and field.
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
using ::testing::HasSubstr;

class TokenizerJsonTest : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& bytes) const {
    return directory_.write("tokenizer.json", bytes);
  }

  // What loading says; the message must name the file.
  std::string complaint(const std::string& bytes) const {
    const auto file = write(bytes);
    try {
      Tokenizer::load(file);
      return "no complaint";
    } catch (const StartupError& error) {
      EXPECT_EQ(error.code(), ExitCode::model);
      EXPECT_THAT(error.what(), HasSubstr(file.string()));
      return error.what();
    }
  }

  static json good() {
    return json::parse(R"({
      "added_tokens": [{"id": 4, "content": "<end>", "special": true}],
      "normalizer": null,
      "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
      "post_processor": {"type": "Sequence", "processors": [
        {"type": "ByteLevel"},
        {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<end>"}}],
         "special_tokens": {"<end>": {"ids": [4]}}}]},
      "decoder": {"type": "ByteLevel"},
      "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": [["a", "b"]]}
    })");
  }

  // `pointer` set to `value` in the good file.
  std::string complaint_about(const std::string& pointer, const json& value) const {
    json file = good();
    file[json::json_pointer(pointer)] = value;
    return complaint(file.dump(-1, ' ', false, json::error_handler_t::replace));
  }

  const TemporaryDirectory directory_;
};

TEST_F(TokenizerJsonTest, TheGoodOneLoads) {
  const Tokenizer tokenizer = Tokenizer::load(write(good().dump()));
  EXPECT_THAT(tokenizer.encode("ab a"), ::testing::ElementsAre(2, 3, 0, 4));
}

TEST_F(TokenizerJsonTest, MergesAsStrings) {
  json file = good();
  file["model"]["merges"] = {"a b"};
  EXPECT_THAT(Tokenizer::load(write(file.dump())).encode("ab"), ::testing::ElementsAre(2, 4));
}

TEST_F(TokenizerJsonTest, NotAFileOrNotJson) {
  EXPECT_THAT(complaint(""), HasSubstr("is empty"));
  EXPECT_THAT(complaint(good().dump().substr(0, 300)), HasSubstr("not valid JSON"));
  EXPECT_THAT(complaint("{\"model\": \"\xFF\xFE\"}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(complaint("[1, 2]"), HasSubstr("must be an object"));
  EXPECT_THAT(complaint(std::string(200000, '[')), HasSubstr("nested too deeply"));
  EXPECT_THAT(complaint(R"({"model": {"vocab": {"a": 0, "b": 1, "a": 2}}})"),
              HasSubstr("\"a\" stands there twice"));
  EXPECT_THROW(Tokenizer::load("/nonexistent/tokenizer.json"), StartupError);
}

TEST_F(TokenizerJsonTest, Vocabulary) {
  EXPECT_THAT(complaint_about("/model/vocab", json::object()), HasSubstr("model.vocab: is empty"));
  EXPECT_THAT(complaint_about("/model/vocab", json::array()), HasSubstr("model.vocab: must be an object"));
  EXPECT_THAT(complaint_about("/model/vocab/a", -1), HasSubstr("model.vocab.a: token id -1 is out of range"));
  EXPECT_THAT(complaint_about("/model/vocab/a", 4000000000), HasSubstr("out of range"));
  EXPECT_THAT(complaint_about("/model/vocab/a", 18446744073709551615u),
              HasSubstr("model.vocab.a: must be an integer"));
  EXPECT_THAT(complaint_about("/model/vocab/a", 1.5), HasSubstr("must be an integer"));
  EXPECT_THAT(complaint_about("/model/vocab/a", "0"), HasSubstr("must be an integer"));
  EXPECT_THAT(complaint_about("/model/vocab/a", 2), HasSubstr("same id 2 as"));
}

TEST_F(TokenizerJsonTest, Merges) {
  EXPECT_THAT(complaint_about("/model/merges", nullptr), HasSubstr("model.merges: must be an array"));
  EXPECT_THAT(complaint_about("/model/merges/0", {"b", "a"}), HasSubstr("merges[0] needs \"ba\""));
  EXPECT_THAT(complaint_about("/model/merges/0", {"a", "b", "c"}),
              HasSubstr("model.merges[0]: must have two parts"));
  EXPECT_THAT(complaint_about("/model/merges/0", "ab"), HasSubstr("with one space between"));
  EXPECT_THAT(complaint_about("/model/merges/0", {"a", 1}),
              HasSubstr("model.merges[0][1]: must be a string"));
}

TEST_F(TokenizerJsonTest, ModelsThatAreNotSupported) {
  EXPECT_THAT(complaint_about("/model/type", "Unigram"), HasSubstr("model.type: \"Unigram\""));
  EXPECT_THAT(complaint_about("/model/type", "WordPiece"), HasSubstr("only \"BPE\" is"));
  EXPECT_THAT(complaint_about("/model/dropout", 0.1), HasSubstr("model.dropout"));
  EXPECT_THAT(complaint_about("/model/dropout", "x"), HasSubstr("model.dropout: must be a number"));
  EXPECT_THAT(complaint_about("/model/unk_token", 3), HasSubstr("model.unk_token: must be a string"));
  EXPECT_THAT(complaint_about("/model/byte_fallback", "yes"), HasSubstr("model.byte_fallback: must be true"));
  EXPECT_THAT(complaint_about("/model/continuing_subword_prefix", "##"), HasSubstr("merges[0]"));
  EXPECT_THAT(complaint_about("/model/ignore_merges", 3),
              HasSubstr("model.ignore_merges: must be true or false"));
  EXPECT_THAT(complaint_about("/model", 3), HasSubstr("model: must be an object"));
}

TEST_F(TokenizerJsonTest, AddedTokens) {
  EXPECT_THAT(complaint_about("/added_tokens/0/id", 0),
              HasSubstr("added_tokens[0].id: \"<end>\" has the id 0 of \"a\""));
  EXPECT_THAT(complaint_about("/added_tokens/0/content", "a"), HasSubstr("has the id 0 in model.vocab"));
  EXPECT_THAT(complaint_about("/added_tokens/0/content", ""), HasSubstr("added_tokens[0].content: is empty"));
  EXPECT_THAT(complaint_about("/added_tokens/0/content", 7), HasSubstr("must be a string"));
  EXPECT_THAT(complaint_about("/added_tokens/0/id", -3), HasSubstr("out of range"));
  EXPECT_THAT(complaint_about("/added_tokens/0", "x"), HasSubstr("added_tokens[0]: must be an object"));
  EXPECT_THAT(complaint_about("/added_tokens/0/id", 4000000000), HasSubstr("out of range"));
  EXPECT_THAT(complaint_about("/added_tokens/1", {{"id", 4}, {"content", "<x>"}}),
              HasSubstr("added_tokens[1].id: \"<x>\" has the id 4 of \"<end>\""));
  EXPECT_THAT(complaint_about("/added_tokens/1", {{"id", 4}, {"content", "<end>"}}),
              HasSubstr("is there twice"));
}

TEST_F(TokenizerJsonTest, AddedTokensThatNormalizingConfuses) {
  json file = good();
  file["normalizer"] = {{"type", "Lowercase"}};
  file["added_tokens"] = {{{"id", 4}, {"content", "X"}, {"normalized", true}},
                          {{"id", 5}, {"content", "x"}, {"normalized", true}}};
  EXPECT_THAT(complaint(file.dump()), HasSubstr("added_tokens[1].content: is the same as another"));
  file["normalizer"] = {{"type", "Strip"}};
  file["added_tokens"] = {{{"id", 4}, {"content", "  "}, {"normalized", true}}};
  EXPECT_THAT(complaint(file.dump()), HasSubstr("added_tokens[0].content: nothing is left"));
}

// The ids of the tokenizers library, which leaves no gaps.
TEST_F(TokenizerJsonTest, AddedTokensFollowTheVocabulary) {
  json file = good();
  file["added_tokens"][0]["id"] = 70;
  file["post_processor"] = nullptr;
  const Tokenizer tokenizer = Tokenizer::load(write(file.dump()));
  EXPECT_THAT(tokenizer.encode("ab<end>"), ::testing::ElementsAre(2, 4));
  EXPECT_EQ(tokenizer.vocab_size(), 5);
}

TEST_F(TokenizerJsonTest, StepsThatAreNotSupported) {
  const std::string step = "/pre_tokenizer/pretokenizers/0";
  EXPECT_THAT(complaint_about("/normalizer", {{"type", "Precompiled"}}),
              HasSubstr("normalizer.type: \"Precompiled\""));
  EXPECT_THAT(complaint_about("/normalizer", {{"type", "BertNormalizer"}}), HasSubstr("\"BertNormalizer\""));
  EXPECT_THAT(complaint_about(step + "/type", "UnicodeScripts"),
              HasSubstr("pre_tokenizer.pretokenizers[0].type: \"UnicodeScripts\""));
  EXPECT_THAT(complaint_about("/decoder/type", "WordPiece"), HasSubstr("decoder.type: \"WordPiece\""));
  EXPECT_THAT(complaint_about("/decoder/type", "CTC"), HasSubstr("\"CTC\""));
  EXPECT_THAT(complaint_about("/version", "2.0"), HasSubstr("version: \"2.0\""));
}

TEST_F(TokenizerJsonTest, BrokenSteps) {
  const std::string step = "/pre_tokenizer/pretokenizers/0";
  EXPECT_THAT(complaint_about(step + "/behavior", "Dropped"), HasSubstr("behavior: \"Dropped\""));
  EXPECT_THAT(complaint_about(step + "/invert", 1), HasSubstr("invert: must be true or false"));
  EXPECT_THAT(complaint_about(step + "/pattern/Regex", "(a"), HasSubstr("pattern: the regular"));
  EXPECT_THAT(complaint_about(step + "/pattern", json::object()), HasSubstr("\"Regex\""));
  EXPECT_THAT(complaint_about(step, {{"type", "Metaspace"}}), HasSubstr("replacement: must be a string"));
  EXPECT_THAT(complaint_about(step, {{"type", "Metaspace"}, {"replacement", "ab"}}),
              HasSubstr("one character"));
  EXPECT_THAT(
      complaint_about(step, {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}}),
      HasSubstr("prepend_scheme: \"last\""));
  EXPECT_THAT(complaint_about(step, {{"type", "Metaspace"},
                                     {"replacement", "_"},
                                     {"prepend_scheme", "first"},
                                     {"add_prefix_space", false}}),
              HasSubstr("contradicts"));
  EXPECT_THAT(complaint_about(step, {{"type", "FixedLength"}, {"length", 0}}),
              HasSubstr("length: must not be 0"));
  EXPECT_THAT(complaint_about("/decoder", {{"type", "Strip"}, {"content", " "}, {"start", -1}, {"stop", 0}}),
              HasSubstr("decoder.start: must be from 0"));
  EXPECT_THAT(complaint_about("/normalizer", {{"type", "Prepend"}}), HasSubstr("normalizer.prepend"));
  EXPECT_THAT(complaint_about("/normalizer", "NFC"), HasSubstr("normalizer: must be an object"));
  json nested = {{"type", "NFC"}};
  for (int i = 0; i < 20; ++i) nested = {{"type", "Sequence"}, {"normalizers", json::array({nested})}};
  EXPECT_THAT(complaint_about("/normalizer", nested), HasSubstr("more than 16 sequences"));
}

TEST_F(TokenizerJsonTest, WhatIsMissingHasDefaults) {
  json file = good();
  for (const char* key : {"added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"})
    file.erase(key);
  const Tokenizer tokenizer = Tokenizer::load(write(file.dump()));
  EXPECT_THAT(tokenizer.encode("aab"), ::testing::ElementsAre(0, 2));
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{0, 2}, false), "a ab") << "no decoder puts spaces between";
}

TEST_F(TokenizerJsonTest, PostProcessors) {
  const std::string templating = "/post_processor/processors/1";
  EXPECT_THAT(complaint_about("/post_processor/type", "PairProcessing"), HasSubstr("\"PairProcessing\""));
  EXPECT_THAT(
      complaint_about("/post_processor", {{"type", "BertProcessing"}, {"cls", {"<end>", 4}}, {"sep", {4}}}),
      HasSubstr("post_processor.sep: must be a token's text and id"));
  EXPECT_THAT(complaint_about("/post_processor/processors/0", good()["post_processor"]["processors"][1]),
              HasSubstr("a second post-processor"));
  EXPECT_THAT(complaint_about(templating + "/single", json::array()), HasSubstr("has no \"Sequence\""));
  EXPECT_THAT(complaint_about(templating + "/single/0/Sequence/id", "B"), HasSubstr("single[0]"));
  EXPECT_THAT(complaint_about(templating + "/single/1/SpecialToken/id", "<x>"),
              HasSubstr("special_tokens.<x>"));
  EXPECT_THAT(complaint_about(templating + "/special_tokens/<end>/ids", {-1}), HasSubstr("out of range"));
  EXPECT_THAT(complaint_about("/post_processor/processors/0", good()["post_processor"]), HasSubstr("inside"));
}

TEST_F(TokenizerJsonTest, BertAndRobertaProcessing) {
  for (const char* type : {"BertProcessing", "RobertaProcessing"}) {
    json file = good();
    file["post_processor"] = {{"type", type}, {"cls", {"a", 0}}, {"sep", {"<end>", 4}}};
    EXPECT_THAT(Tokenizer::load(write(file.dump())).encode("ab"), ::testing::ElementsAre(0, 2, 4));
  }
}

}  // namespace
}  // namespace sinkstream
