#include "coordinator/text/tokenizer_json.h"

#include <stdexcept>
#include <string>
#include <unordered_map>

#include "coordinator/text/byte_level.h"
#include "coordinator/text/json_field.h"
#include "coordinator/text/utf8.h"

namespace sinkstream {
namespace {

constexpr std::int64_t kMaxTokenId = (1 << 24) - 1;  // far above any vocabulary; keeps tables by id small

TokenId read_token_id(const JsonField& field) {
  const std::int64_t id = field.integer();
  if (id < 0 || id > kMaxTokenId) field.fail("token id " + std::to_string(id) + " is out of range");
  return static_cast<TokenId>(id);
}

Vocabulary read_vocabulary(const JsonField& field) {
  Vocabulary vocabulary;
  std::unordered_map<TokenId, std::string> names;
  for (const auto& [name, value] : field.members()) {
    const TokenId id = read_token_id(value);
    const auto [other, is_new] = names.emplace(id, name);
    if (!is_new) value.fail("has the same id " + std::to_string(id) + " as \"" + other->second + "\"");
    vocabulary.emplace(name, id);
  }
  if (vocabulary.empty()) field.fail("is empty");
  return vocabulary;
}

// "a b" or ["a", "b"].
std::pair<std::string, std::string> read_merge(const JsonField& field) {
  if (field.is_string()) {
    const std::string& text = field.string();
    const std::size_t space = text.find(' ');
    if (space == text.npos || text.find(' ', space + 1) != text.npos)
      field.fail("must be two parts with a space between");
    return {text.substr(0, space), text.substr(space + 1)};
  }
  const std::vector<JsonField> parts = field.elements();
  if (parts.size() != 2) field.fail("must have two parts");
  return {parts[0].string(), parts[1].string()};
}

void refuse_unless_empty(const JsonField& field) {
  if (!field.string_or("").empty()) field.not_supported("\"" + field.string() + "\"");
}

BytePairEncoding read_model(const JsonField& field) {
  if (const JsonField type = field["type"]; type.string_or("BPE") != "BPE") {
    type.not_supported("\"" + type.string() + "\" (only \"BPE\" is)");
  }
  if (field["byte_fallback"].boolean_or(false)) field["byte_fallback"].not_supported("true");
  if (!field["dropout"].is_null()) field["dropout"].not_supported("anything but null");
  refuse_unless_empty(field["unk_token"]);
  refuse_unless_empty(field["continuing_subword_prefix"]);
  refuse_unless_empty(field["end_of_word_suffix"]);

  BytePairEncoding::Merges merges;
  for (const JsonField& merge : field["merges"].elements()) merges.push_back(read_merge(merge));
  try {
    return BytePairEncoding(read_vocabulary(field["vocab"]), merges,
                            field["ignore_merges"].boolean_or(false));
  } catch (const std::invalid_argument& error) {
    field.fail(error.what());
  }
}

std::vector<AddedToken> read_added_tokens(const JsonField& field, const Vocabulary& vocabulary) {
  std::vector<AddedToken> tokens;
  std::unordered_map<TokenId, std::string> names;
  for (const auto& [name, id] : vocabulary) names.emplace(id, name);
  if (field.is_null()) return tokens;
  for (const JsonField& entry : field.elements()) {
    AddedToken token;
    token.id = read_token_id(entry["id"]);
    token.content = entry["content"].string();
    token.special = entry["special"].boolean_or(false);
    token.single_word = entry["single_word"].boolean_or(false);
    token.lstrip = entry["lstrip"].boolean_or(false);
    token.rstrip = entry["rstrip"].boolean_or(false);
    token.normalized = entry["normalized"].boolean_or(!token.special);
    if (token.content.empty()) entry["content"].fail("is empty");
    const auto [named, is_new] = names.emplace(token.id, token.content);
    if (named->second != token.content) {
      entry["id"].fail("\"" + token.content + "\" has the id " + std::to_string(token.id) + " of \"" +
                       named->second + "\"");
    }
    if (const auto known = vocabulary.find(token.content);
        known != vocabulary.end() && known->second != token.id) {
      entry["id"].fail("\"" + token.content + "\" has the id " + std::to_string(known->second) +
                       " in model.vocab");
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

TextPattern read_pattern(const JsonField& field) {
  const JsonField regex = field["Regex"];
  const JsonField literal = field["String"];
  try {
    if (!regex.is_null()) return TextPattern::regex(regex.string());
    if (!literal.is_null()) return TextPattern::literal(literal.string());
  } catch (const std::invalid_argument& error) {
    field.fail(error.what());
  }
  field.fail("must have \"Regex\" or \"String\"");
}

SplitStep read_split(const JsonField& field) {
  if (field["behavior"].string() != "Isolated") {
    field["behavior"].not_supported("\"" + field["behavior"].string() + "\" (only \"Isolated\" is)");
  }
  if (field["invert"].boolean_or(false)) field["invert"].not_supported("true");
  return {read_pattern(field["pattern"])};
}

ByteLevelStep read_byte_level(const JsonField& field) {
  ByteLevelStep step{field["add_prefix_space"].boolean_or(true), std::nullopt};
  if (field["use_regex"].boolean_or(true)) step.pattern = TextPattern::regex(gpt2_pattern());
  return step;
}

void read_pre_tokenizer(const JsonField& field, std::vector<PreTokenizerStep>& steps) {
  if (field.is_null()) field.not_supported("a tokenizer without the ByteLevel pre-tokenizer");
  const std::string& type = field["type"].string();
  if (type == "Sequence") {
    for (const JsonField& part : field["pretokenizers"].elements()) {
      if (part["type"].string() == "Sequence") part.not_supported("a Sequence inside a Sequence");
      read_pre_tokenizer(part, steps);
    }
  } else if (type == "Split") {
    steps.push_back(read_split(field));
  } else if (type == "ByteLevel") {
    steps.push_back(read_byte_level(field));
  } else {
    field["type"].not_supported("\"" + type + "\" (Sequence, Split and ByteLevel are)");
  }
}

PreTokenizer read_pre_tokenizer(const JsonField& field) {
  std::vector<PreTokenizerStep> steps;
  read_pre_tokenizer(field, steps);
  if (steps.empty() || !std::holds_alternative<ByteLevelStep>(steps.back())) {
    field.not_supported("a pre-tokenizer that does not end with ByteLevel");
  }
  return PreTokenizer(std::move(steps));
}

void read_template(const JsonField& field, TokenizerParts& parts) {
  bool before_text = true;
  for (const JsonField& piece : field["single"].elements()) {
    if (!piece["Sequence"].is_null()) {
      if (piece["Sequence"]["id"].string() != "A" || !before_text)
        piece.fail("one text, \"A\", may stand here");
      before_text = false;
      continue;
    }
    const JsonField special = piece["SpecialToken"];
    if (special.is_null()) piece.fail("must have \"Sequence\" or \"SpecialToken\"");
    const JsonField ids = field["special_tokens"][special["id"].string()]["ids"];
    for (const JsonField& id : ids.elements()) {
      (before_text ? parts.prefix : parts.suffix).push_back(read_token_id(id));
    }
  }
  if (before_text) field["single"].fail("has no \"Sequence\"");
}

void read_post_processor(const JsonField& field, TokenizerParts& parts) {
  if (field.is_null()) return;
  const std::string& type = field["type"].string();
  if (type == "TemplateProcessing") {
    if (!parts.prefix.empty() || !parts.suffix.empty()) field.not_supported("a second TemplateProcessing");
    read_template(field, parts);
  } else if (type == "Sequence") {
    for (const JsonField& part : field["processors"].elements()) {
      if (part["type"].string() == "Sequence") part.not_supported("a Sequence inside a Sequence");
      read_post_processor(part, parts);
    }
  } else if (type != "ByteLevel") {  // which only moves offsets
    field["type"].not_supported("\"" + type + "\" (TemplateProcessing, ByteLevel and Sequence are)");
  }
}

void check_decoder(const JsonField& field) {
  if (field.is_null()) field.not_supported("null (only ByteLevel is)");
  if (const JsonField type = field["type"]; type.string() != "ByteLevel") {
    type.not_supported("\"" + type.string() + "\" (only ByteLevel is)");
  }
}

}  // namespace

TokenizerParts read_tokenizer_json(const std::filesystem::path& file) {
  const JsonField root = JsonField::read_file(file);
  if (const JsonField normalizer = root["normalizer"]; !normalizer.is_null()) {
    normalizer["type"].not_supported("\"" + normalizer["type"].string() + "\" (only null is)");
  }
  check_decoder(root["decoder"]);
  BytePairEncoding model = read_model(root["model"]);
  std::vector<AddedToken> added_tokens = read_added_tokens(root["added_tokens"], model.vocabulary());
  TokenizerParts parts{
      std::move(added_tokens), read_pre_tokenizer(root["pre_tokenizer"]), std::move(model), {}, {}};
  read_post_processor(root["post_processor"], parts);
  return parts;
}

}  // namespace sinkstream
