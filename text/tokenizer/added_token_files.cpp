#include "text/tokenizer/added_token_files.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <utility>

namespace sinkstream {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 7> kNamed = {"bos_token", "eos_token", "unk_token", "sep_token",
                                               "pad_token", "cls_token", "mask_token"};

std::optional<JsonField> read_if_there(const fs::path& file) {
  if (!fs::exists(file) && !fs::is_symlink(file)) return std::nullopt;
  return JsonField::read_file(file);
}

DefinedToken named_token(const JsonField& field) {
  AddedToken token{};
  if (field.is_string()) {
    token.content = field.string();
  } else {
    token = read_added_token(field);
    token.normalized = field["normalized"].boolean_or(false);
  }
  token.special = true;
  return {field, std::move(token), std::nullopt};
}

class Files {
 public:
  Files(const fs::path& directory, const std::vector<AddedToken>& known)
      : known_(known), config_(read_if_there(directory / "tokenizer_config.json")) {
    if (config_ && !(*config_)["added_tokens_decoder"].is_null()) {
      read_named(*config_);
      read_decoder((*config_)["added_tokens_decoder"]);
      return;
    }
    const auto map = read_if_there(directory / "special_tokens_map.json");
    if (map) read_named(*map);  // before the configuration's: the first of a name counts
    if (config_) read_named(*config_);
    if (const auto added = read_if_there(directory / "added_tokens.json")) read_added(*added);
    for (const AddedToken& token : known_) {
      const DefinedToken* named = find(named_, token.content);
      if (!named || token.special || find(defined_, token.content)) continue;
      defined_.push_back({named->place, token, token.id, true});
      defined_.back().token.special = true;
    }
  }

  std::vector<DefinedToken> run() {
    std::ranges::stable_sort(defined_, {}, [](const DefinedToken& token) { return *token.id; });
    for (DefinedToken& token : defined_)
      token.token.special = token.token.special || find(named_, token.token.content) != nullptr;
    for (std::vector<DefinedToken>* tokens : {&named_, &others_, &extra_}) {
      bool is_first = true;
      for (DefinedToken& token : *tokens) {
        const bool is_known =
            std::ranges::find(known_, token.token.content, &AddedToken::content) != known_.end();
        if (is_known || find(defined_, token.token.content)) continue;
        // Their ids follow the order of a JSON object's keys, which nobody should count on.
        if (tokens == &others_ && !std::exchange(is_first, false))
          token.place.fail("\"" + token.token.content +
                           "\" has no id; give it one in \"added_tokens_decoder\" or tokenizer.json");
        defined_.push_back(std::move(token));
      }
    }
    return std::move(defined_);
  }

 private:
  static const DefinedToken* find(const std::vector<DefinedToken>& tokens, const std::string& content) {
    const auto found =
        std::ranges::find(tokens, content, [](const auto& token) { return token.token.content; });
    return found == tokens.end() ? nullptr : &*found;
  }

  void read_named(const JsonField& file) {
    for (std::size_t i = 0; i < kNamed.size(); ++i) {
      const JsonField field = file[kNamed[i]];
      if (field.is_null() || std::exchange(seen_[i], true)) continue;
      named_.push_back(named_token(field));
    }
    for (const auto& [name, field] : file.members()) {
      if (name.ends_with("_token") && std::ranges::find(kNamed, name) == kNamed.end() && field.is_string())
        others_.push_back(named_token(field));
    }
    JsonField extra = file["extra_special_tokens"];
    if (extra.is_null()) extra = file["additional_special_tokens"];
    if (extra.is_null()) return;
    if (extra.is_array()) {
      for (const JsonField& field : extra.elements()) extra_.push_back(named_token(field));
    } else {
      for (const auto& [name, field] : extra.members()) others_.push_back(named_token(field));
    }
  }

  void read_decoder(const JsonField& field) {
    for (const auto& [text, entry] : field.members()) {
      std::int64_t id = 0;
      const auto end = text.data() + text.size();
      if (const auto read = std::from_chars(text.data(), end, id); read.ec != std::errc() || read.ptr != end)
        entry.fail("\"" + text + "\" is no token id");
      defined_.push_back({entry, read_added_token(entry), id, true});
    }
  }

  void read_added(const JsonField& file) {
    for (const auto& [content, field] : file.members()) {
      if (std::ranges::find(known_, content, &AddedToken::content) != known_.end()) {
        defined_.push_back(
            {field, *std::ranges::find(known_, content, &AddedToken::content), field.integer(), true});
        continue;
      }
      AddedToken token{};
      token.content = content;
      token.special = find(named_, content) != nullptr || find(extra_, content) != nullptr;
      token.normalized = !token.special;
      defined_.push_back({field, std::move(token), field.integer(), true});
    }
  }

  const std::vector<AddedToken>& known_;
  std::optional<JsonField> config_;
  std::array<bool, kNamed.size()> seen_ = {};
  std::vector<DefinedToken> named_, others_, extra_, defined_;
};

}  // namespace

AddedToken read_added_token(const JsonField& entry) {
  AddedToken token{};
  token.content = entry["content"].string();
  token.special = entry["special"].boolean_or(false);
  token.single_word = entry["single_word"].boolean_or(false);
  token.lstrip = entry["lstrip"].boolean_or(false);
  token.rstrip = entry["rstrip"].boolean_or(false);
  token.normalized = entry["normalized"].boolean_or(!token.special);
  if (token.content.empty()) entry["content"].fail("is empty");
  return token;
}

std::vector<DefinedToken> read_added_token_files(const fs::path& directory,
                                                 const std::vector<AddedToken>& known) {
  return Files(directory, known).run();
}

}  // namespace sinkstream
