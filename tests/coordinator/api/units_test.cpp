// The parts of the API that need no server.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "coordinator/api/generation/choice.h"
#include "coordinator/api/request/chat_prompt.h"
#include "coordinator/api/request/request_fields.h"
#include "coordinator/api/request/request_json.h"
#include "tests/paths.h"
#include "tests/temporary_directory.h"

namespace sinkstream {
namespace {

using json = nlohmann::ordered_json;

std::string param_of(const std::function<void()>& read) {
  try {
    read();
  } catch (const RequestError& error) {
    return error.param + " " + error.code;
  }
  return "accepted";
}

TEST(RequestFieldsTest, ReadsTypedValues) {
  const json object = {{"b", true},       {"i", -3},  {"n", 0.5},    {"s", "text"},
                       {"o", {{"x", 1}}}, {"a", {1}}, {"z", nullptr}};
  RequestFields fields(object);
  EXPECT_EQ(fields.boolean("b"), true);
  EXPECT_EQ(fields.integer("i", -3, 3), -3);
  EXPECT_EQ(fields.number("n", {0, 1}), 0.5);
  EXPECT_EQ(fields.number("i", {}), -3.0);
  EXPECT_EQ(fields.string("s"), "text");
  EXPECT_EQ(fields.object("o")->integer("x", 0, 1), 1);
  EXPECT_EQ(fields.array("a")->size(), 1u);
  EXPECT_EQ(fields.boolean("z"), std::nullopt);
  EXPECT_EQ(fields.integer("absent", 0, 1), std::nullopt);
  EXPECT_TRUE(fields.unknown().empty());
}

TEST(RequestFieldsTest, ConvertsNothingAndNamesTheField) {
  const json object = {{"i", 5},    {"n", 1.5},          {"s", "5"},
                       {"b", true}, {"o", {{"x", "y"}}}, {"big", 18446744073709551615u}};
  RequestFields fields(object);
  EXPECT_EQ(param_of([&] { fields.integer("n", 0, 9); }), "n invalid_type");
  EXPECT_EQ(param_of([&] { fields.integer("s", 0, 9); }), "s invalid_type");
  EXPECT_EQ(param_of([&] { fields.integer("b", 0, 9); }), "b invalid_type");
  EXPECT_EQ(param_of([&] { fields.integer("i", 6, 9); }), "i invalid_value");
  EXPECT_EQ(param_of([&] { fields.integer("i", 0, 4); }), "i invalid_value");
  EXPECT_EQ(param_of([&] { fields.integer("big", 0, std::numeric_limits<std::int64_t>::max()); }),
            "big invalid_value");
  EXPECT_EQ(param_of([&] { fields.number("b", {}); }), "b invalid_type");
  EXPECT_EQ(param_of([&] { fields.number("i", {5, 9, true}); }), "i invalid_value");
  EXPECT_EQ(param_of([&] { fields.number("i", {5, 9}); }), "accepted");
  EXPECT_EQ(param_of([&] { fields.boolean("i"); }), "i invalid_type");
  EXPECT_EQ(param_of([&] { fields.string("i"); }), "i invalid_type");
  EXPECT_EQ(param_of([&] { fields.object("s"); }), "s invalid_type");
  EXPECT_EQ(param_of([&] { fields.array("o"); }), "o invalid_type");
  EXPECT_EQ(param_of([&] { fields.object("o")->boolean("x"); }), "o.x invalid_type");
}

TEST(RequestFieldsTest, AWholeNumberIsAnIntegerHoweverItIsWritten) {
  const json object =
      json::parse(R"({"a": 5.0, "b": 1e3, "c": -0.0, "d": 5.5, "e": 1e300, "f": -9223372036854775808.0,
                                      "g": 9223372036854775808.0, "h": 18446744073709551616})");
  RequestFields fields(object);
  constexpr std::int64_t kLow = std::numeric_limits<std::int64_t>::min();
  constexpr std::int64_t kHigh = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(fields.integer("a", 0, 5), 5);
  EXPECT_EQ(fields.integer("b", 0, 1000), 1000);
  EXPECT_EQ(fields.integer("c", 0, 1), 0);
  EXPECT_EQ(fields.integer("f", kLow, kHigh), kLow);
  EXPECT_EQ(param_of([&] { fields.integer("a", 0, 4); }), "a invalid_value");
  EXPECT_EQ(param_of([&] { fields.integer("d", 0, 9); }), "d invalid_type");
  for (const char* name : {"e", "g", "h"}) {
    EXPECT_EQ(param_of([&] { fields.integer(name, kLow, kHigh); }), name + std::string(" invalid_value"));
  }
}

TEST(RequestFieldsTest, KnowsWhatNobodyAskedFor) {
  const json object = {{"used", 1}, {"inert", 2}, {"off", 0}, {"empty", json::array()}, {"new", 3}};
  RequestFields fields(object);
  fields.integer("used", 0, 9);
  fields.ignore({"inert"});
  fields.refuse_unless("off", 0);
  fields.refuse({"empty"});
  EXPECT_EQ(fields.unknown(), std::vector<std::string>{"new"});
  EXPECT_EQ(param_of([&] { fields.refuse({"new"}); }), "new unsupported_parameter");
}

TEST(RequestJson, DepthIsBounded) {
  const auto nested = [](int depth) {
    return "{\"a\":" + std::string(static_cast<std::size_t>(depth) - 1, '[') +
           std::string(static_cast<std::size_t>(depth) - 1, ']') + "}";
  };
  EXPECT_NO_THROW(parse_request_json(nested(kMaxJsonDepth)));
  EXPECT_THROW(parse_request_json(nested(kMaxJsonDepth + 1)), RequestError);
}

TEST(RequestJson, KeysKeepTheirOrder) {
  EXPECT_EQ(parse_request_json(R"({"z": {"y": [], "b": 1.5, "c": "\u00e9"}, "a": -1, "t": true, "n": null})")
                .dump(),
            "{\"z\":{\"y\":[],\"b\":1.5,\"c\":\"\u00e9\"},\"a\":-1,\"t\":true,\"n\":null}");
}

TEST(RequestJson, EqualKeysInDifferentObjectsAreFine) {
  EXPECT_NO_THROW(parse_request_json(R"({"a":{"a":1},"b":[{"a":1},{"a":1}]})"));
  EXPECT_THROW(parse_request_json(R"({"b":[{"a":1,"a":1}]})"), RequestError);
  EXPECT_THROW(parse_request_json(R"({"a":{},"a":1})"), RequestError);
}

TEST(MarkNames, CutsEveryOccurrence) {
  const std::vector<std::string> names = {"<|a|>", "<|a|><|b|>", "\xc3\xa9t\xc3\xa9"};
  EXPECT_EQ(mark_names("x<|a|>y", names, "#"), "x<#|a|>y");
  EXPECT_EQ(mark_names("<|a|><|a|>", names, "#"), "<#|a|><#|a|>");
  EXPECT_EQ(mark_names("<|a|", names, "#"), "<|a|");
  EXPECT_EQ(mark_names("\xc3\xa9t\xc3\xa9", names, "#"), "\xc3\xa9#t\xc3\xa9");
  EXPECT_EQ(mark_names("", names, "#"), "");
}

// With a normalizer, a special token that is looked for in normalized text, and SentencePiece's spaces.
Tokenizer sentencepiece_tokenizer() {
  const TemporaryDirectory directory;
  return Tokenizer::load(directory.write("tokenizer.json", R"({
    "added_tokens": [{"id": 9, "content": "<s>", "special": true, "normalized": true}],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
      {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "unk_token": "?",
              "vocab": {"?": 0, "▁": 1, "a": 2, "b": 3, "▁a": 4, "▁b": 5, "<": 6, "s": 7, ">": 8},
              "merges": ["▁ a", "▁ b"]}
  })"));
}

TEST(MarkLiteral, NoSpellingOfASpecialTokenGetsThrough) {
  const Tokenizer tokenizer = sentencepiece_tokenizer();
  const TokenId special = *tokenizer.find("<s>");
  const std::string mark = "\uE000x\uE001";
  for (const char* text : {"<s>", "a<S>b", "\uFF1Cs\uFF1E", "<\uFF53>", "a b"}) {
    const auto unmarked = tokenizer.encode(text);
    const auto literal = tokenizer.encode(mark_literal(text, tokenizer, mark), {.literal_mark = mark});
    EXPECT_EQ(std::count(literal.begin(), literal.end(), special), 0) << text;
    EXPECT_EQ(std::count(unmarked.begin(), unmarked.end(), special), text == std::string("a b") ? 0 : 1)
        << text;
  }
  EXPECT_EQ(mark_literal("a b", tokenizer, mark), "a b");
  const auto both = tokenizer.encode("<s>" + mark_literal("a <s>", tokenizer, mark), {.literal_mark = mark});
  EXPECT_EQ(both, (std::vector<TokenId>{9, 2, 1, 6, 7, 8}))
      << "the template's own is one, the message's is text";
}

TEST(ChoiceOfSentencePiece, AnAnswerGoesOnWithItsSpaceOrBeginsWithoutIt) {
  const Tokenizer tokenizer = sentencepiece_tokenizer();
  const auto answer = [&](bool continues) {
    Prompt prompt;
    prompt.answer_continues_text = continues;
    Choice choice(tokenizer, GenerationOptions{}, prompt);
    std::string text = choice.push({.token = 4, .logprob = -1.0f}).text;
    text += choice.push({.position = 1, .token = 5, .logprob = -1.0f}).text;
    return text + choice.finish().text;
  };
  EXPECT_EQ(answer(true), " a b");
  EXPECT_EQ(answer(false), "a b");
}

class ChoiceTest : public ::testing::Test {
 protected:
  ChoiceTest() : tokenizer(Tokenizer::load(project_dir() / "models/demo/tokenizer.json")) {
    options.logprobs = true;
  }

  std::vector<Piece> run(const std::string& text, const Prompt& prompt = {}) {
    Choice choice(tokenizer, options, prompt);
    std::vector<Piece> pieces = {choice.opening(prompt)};
    for (const TokenId token : tokenizer.encode(text, {.add_special_tokens = false})) {
      pieces.push_back(choice.push({.token = token, .logprob = -1.0f}));
      if (choice.stopped()) break;
    }
    pieces.push_back(choice.finish());
    return pieces;
  }

  Tokenizer tokenizer;
  GenerationOptions options;
};

TEST_F(ChoiceTest, ReportsWaitForTheirText) {
  options.stop = {"never said"};
  Piece all;
  for (Piece& piece : run("I have never seen \xf0\x9f\xa6\x99s")) {
    EXPECT_TRUE(piece.tokens.empty() || !piece.text.empty());
    all.append(std::move(piece));
  }
  EXPECT_EQ(all.text, "I have never seen \xf0\x9f\xa6\x99s");
  EXPECT_EQ(all.tokens.size(), tokenizer.encode(all.text, {.add_special_tokens = false}).size());
}

TEST_F(ChoiceTest, ReportsDoNotGiveAwayAStopString) {
  options.stop = {" never"};
  Piece all;
  for (Piece& piece : run("I have never seen")) all.append(std::move(piece));
  EXPECT_EQ(all.text, "I have");
  std::string reported;
  for (const TokenReport& report : all.tokens) reported += tokenizer.token_bytes(report.token);
  EXPECT_EQ(reported, "I have");
}

TEST_F(ChoiceTest, ReportsDoNotGiveAwayAHiddenStopString) {
  options.stop = {"<|user|>\n"};
  Piece all;
  for (Piece& piece : run("I have<|user|>\nnever")) all.append(std::move(piece));
  EXPECT_EQ(all.text, "I have");
  std::string reported;
  for (const TokenReport& report : all.tokens) reported += tokenizer.token_bytes(report.token);
  EXPECT_EQ(reported, "I have");

  options.stop = {"<|user|>\tx"};
  all = {};
  for (Piece& piece : run("I have<|user|>\nnever")) all.append(std::move(piece));
  EXPECT_EQ(all.text, "I have\nnever");
  EXPECT_EQ(all.tokens.size(),
            tokenizer.encode("I have<|user|>\nnever", {.add_special_tokens = false}).size());
}

TEST_F(ChoiceTest, OffsetsCountCharacters) {
  std::string text;
  for (Piece& piece : run("caf\xc3\xa9 au lait")) {
    for (const TokenReport& report : piece.tokens) {
      std::int64_t characters = 0;
      for (const char c : text) characters += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
      EXPECT_EQ(report.text_offset, characters);
      text += tokenizer.token_bytes(report.token);
    }
  }
  EXPECT_EQ(text, "caf\xc3\xa9 au lait");
}

}  // namespace
}  // namespace sinkstream
