#include "text/tokenizer/tokenizer_json.h"

#include <algorithm>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "base/json_field.h"
#include "text/tokenizer/added_token_files.h"
#include "text/tokenizer/steps/tokenizer_steps.h"

namespace sinkstream {
namespace {

constexpr std::int64_t kMaxTokenId = (1 << 24) - 1;  // far above any vocabulary; keeps tables by id small

TokenId read_token_id(std::int64_t id, const JsonField& field) {
  if (id < 0 || id > kMaxTokenId) field.fail("token id " + std::to_string(id) + " is out of range");
  return static_cast<TokenId>(id);
}

TokenId read_token_id(const JsonField& field) {
  return read_token_id(field.integer(), field);
}

// ---- model

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
    if (space == text.npos || text.find(' ', space + 1) != text.npos) {
      field.fail("must be two parts with one space between; parts that contain spaces are written as a list");
    }
    return {text.substr(0, space), text.substr(space + 1)};
  }
  const std::vector<JsonField> parts = field.elements();
  if (parts.size() != 2) field.fail("must have two parts");
  return {parts[0].string(), parts[1].string()};
}

BytePairOptions read_model_options(const JsonField& field) {
  if (const JsonField dropout = field["dropout"]; !dropout.is_null() && dropout.number() != 0) {
    dropout.not_supported("anything but null or 0: answers must not depend on chance");
  }
  BytePairOptions options;
  if (const JsonField unknown = field["unk_token"]; !unknown.is_null())
    options.unknown_token = unknown.string();
  options.fuse_unknown = field["fuse_unk"].boolean_or(false);
  options.byte_fallback = field["byte_fallback"].boolean_or(false);
  options.ignore_merges = field["ignore_merges"].boolean_or(false);
  options.continuing_prefix = field["continuing_subword_prefix"].string_or("");
  options.word_suffix = field["end_of_word_suffix"].string_or("");
  return options;
}

BytePairEncoding read_model(const JsonField& field, bool raw_bytes) {
  if (const JsonField type = field["type"]; type.string_or("BPE") != "BPE") {
    type.not_supported("\"" + type.string() +
                       "\" (only \"BPE\" is, which the models that this server runs come with)");
  }
  BytePairOptions options = read_model_options(field);
  options.raw_bytes = raw_bytes;
  BytePairEncoding::Merges merges;
  for (const JsonField& merge : field["merges"].elements()) merges.push_back(read_merge(merge));
  try {
    return BytePairEncoding(read_vocabulary(field["vocab"]), merges, std::move(options));
  } catch (const std::invalid_argument& error) {
    field.fail(error.what());
  }
}

// ---- added tokens

// Gives ids as the `tokenizers` library does: that of the same string in the vocabulary, or the next free
// one, whatever the file says. A file that gives an id to two strings, or two to a string, is refused.
class AddedTokenReader {
 public:
  AddedTokenReader(const Vocabulary& vocabulary, const Normalizer& normalizer)
      : vocabulary_(vocabulary), normalizer_(normalizer), next_id_(static_cast<TokenId>(vocabulary.size())) {
    for (const auto& [name, id] : vocabulary) names_.emplace(id, name);
  }

  // tokenizer.json's own.
  void read(const JsonField& field) {
    if (field.is_null()) return;
    for (const JsonField& entry : field.elements()) {
      AddedToken token = read_added_token(entry);
      if (find(token.content)) entry["content"].fail("\"" + token.content + "\" is there twice");
      add(entry["id"], std::move(token), entry["id"].integer());
      places_.back() = entry["content"];
    }
  }

  // Those of the files beside it.
  void read_files(const std::filesystem::path& directory) {
    for (DefinedToken& defined : read_added_token_files(directory, tokens_)) {
      if (const AddedToken* known = find(defined.token.content)) {
        defined.token.id = known->id;
        if (defined.id && !is_name_of(*defined.id, known->content)) refuse_id(defined);
        if (defined.redefines) *find(known->content) = std::move(defined.token);
      } else if (!defined.token.content.empty()) {
        add(defined.place, defined.token, defined.id);
        defined.token.id = tokens_.back().id;
        if (defined.id && *defined.id != defined.token.id) refuse_id(defined);
      }
    }
  }

  std::vector<AddedToken> take() {
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      if (tokens_[i].normalized) set_normal_form(places_[i], tokens_[i]);
    }
    return std::move(tokens_);
  }

 private:
  AddedToken* find(const std::string& content) {
    const auto index = by_content_.find(content);
    return index == by_content_.end() ? nullptr : &tokens_[index->second];
  }

  bool is_name_of(std::int64_t id, const std::string& content) const {
    const auto name = id < 0 || id > kMaxTokenId ? names_.end() : names_.find(static_cast<TokenId>(id));
    return name != names_.end() && name->second == content;
  }

  [[noreturn]] static void refuse_id(const DefinedToken& defined) {
    defined.place.fail("\"" + defined.token.content + "\" has the id " + std::to_string(defined.token.id) +
                       " by tokenizer.json and the tokens before it, not " + std::to_string(*defined.id));
  }

  void add(const JsonField& place, AddedToken token, std::optional<std::int64_t> id) {
    if (token.content.empty()) place.fail("is empty");
    if (id) check_id(place, read_token_id(*id, place), token.content);
    if (const auto known = vocabulary_.find(token.content); known != vocabulary_.end()) {
      token.id = known->second;
    } else {
      token.id = next_id_++;
      check_id(place, token.id, token.content);
    }
    by_content_.emplace(token.content, tokens_.size());
    tokens_.push_back(std::move(token));
    places_.push_back(place);
  }

  // The library gives either of two tokens at random, or never ends: nothing to follow.
  void set_normal_form(const JsonField& field, AddedToken& token) {
    token.normal = normalizer_.run(token.content).text;
    if (token.normal.empty()) field.fail("nothing is left of it when it is normalized");
    if (!normals_.insert(token.normal).second) {
      field.fail("is the same as another added token when it is normalized");
    }
  }

  void check_id(const JsonField& place, TokenId id, const std::string& content) {
    const auto [named, is_new] = names_.emplace(id, content);
    if (named->second != content) {
      place.fail("\"" + content + "\" has the id " + std::to_string(id) + " of \"" + named->second + "\"");
    }
    if (const auto known = vocabulary_.find(content); known != vocabulary_.end() && known->second != id) {
      place.fail("\"" + content + "\" has the id " + std::to_string(known->second) + " in model.vocab");
    }
  }

  const Vocabulary& vocabulary_;
  const Normalizer& normalizer_;
  TokenId next_id_;
  std::unordered_map<TokenId, std::string> names_;
  std::unordered_map<std::string, std::size_t> by_content_;
  std::vector<AddedToken> tokens_;
  std::vector<JsonField> places_;
  std::set<std::string> normals_;
};

// ---- post-processor

class PostProcessorReader {
 public:
  explicit PostProcessorReader(TokenizerParts& parts) : parts_(parts) {}

  void read(const JsonField& field, bool in_sequence = false) {
    if (field.is_null()) return;
    const std::string type = field["type"].string();
    if (type == "TemplateProcessing") {
      refuse_a_second(field);
      read_template(field);
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      refuse_a_second(field);
      parts_.prefix.push_back(read_pair(field["cls"]));
      parts_.suffix.push_back(read_pair(field["sep"]));
    } else if (type == "Sequence") {
      if (in_sequence) field.not_supported("a Sequence inside a Sequence");
      for (const JsonField& part : field["processors"].elements()) read(part, true);
    } else if (type != "ByteLevel") {  // which only moves offsets
      field["type"].not_supported(
          "\"" + type +
          "\" (TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel and Sequence are)");
    }
  }

 private:
  void refuse_a_second(const JsonField& field) {
    if (has_one_) field.not_supported("a second post-processor that adds tokens");
    has_one_ = true;
  }

  // ["</s>", 2]
  static TokenId read_pair(const JsonField& field) {
    const std::vector<JsonField> parts = field.elements();
    if (parts.size() != 2) field.fail("must be a token's text and id");
    return read_token_id(parts[1]);
  }

  void read_template(const JsonField& field) {
    bool before_text = true;
    for (const JsonField& piece : field["single"].elements()) {
      if (const JsonField sequence = piece["Sequence"]; !sequence.is_null()) {
        if (sequence["id"].string() != "A" || !before_text) piece.fail("must be sequence \"A\", once");
        before_text = false;
        continue;
      }
      const JsonField special = piece["SpecialToken"];
      if (special.is_null()) piece.fail("must have \"Sequence\" or \"SpecialToken\"");
      const JsonField ids = field["special_tokens"][special["id"].string()]["ids"];
      for (const JsonField& id : ids.elements()) {
        (before_text ? parts_.prefix : parts_.suffix).push_back(read_token_id(id));
      }
    }
    if (before_text) field["single"].fail("has no \"Sequence\"");
  }

  TokenizerParts& parts_;
  bool has_one_ = false;
};

}  // namespace

TokenizerParts read_tokenizer_json(const std::filesystem::path& file) {
  const JsonField root = JsonField::read_file(file);
  if (const JsonField version = root["version"]; version.string_or("1.0") != "1.0") {
    version.not_supported("\"" + version.string() + "\" (only \"1.0\" is)");
  }
  Normalizer normalizer = read_normalizer(root["normalizer"]);
  PreTokenizer pre_tokenizer = read_pre_tokenizer(root["pre_tokenizer"]);
  Decoder decoder = read_decoder(root["decoder"]);
  BytePairEncoding model = read_model(root["model"], pre_tokenizer.leaves_raw_bytes());
  AddedTokenReader added(model.vocabulary(), normalizer);
  added.read(root["added_tokens"]);
  added.read_files(file.parent_path());
  TokenizerParts parts{added.take(), std::move(normalizer), std::move(pre_tokenizer), std::move(model), {},
                       {},           std::move(decoder)};
  PostProcessorReader(parts).read(root["post_processor"]);
  return parts;
}

}  // namespace sinkstream
