#include "coordinator/text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "coordinator/text/byte_level.h"
#include "coordinator/text/tokenizer_json.h"
#include "coordinator/text/utf8.h"

namespace sinkstream {
namespace {

struct TokenEntry {
  std::string text;   // as in the vocabulary
  std::string bytes;  // what it adds to a text
  bool special = false;
};

std::vector<TokenEntry> entries_by_id(const TokenizerParts& parts) {
  std::vector<TokenEntry> entries;
  const auto set = [&entries](TokenId id, const std::string& text, bool special) {
    if (static_cast<std::size_t>(id) >= entries.size()) entries.resize(static_cast<std::size_t>(id) + 1);
    entries[id] = {text, from_byte_level(text), special};
  };
  for (const auto& [text, id] : parts.model.vocabulary()) set(id, text, false);
  for (const AddedToken& token : parts.added_tokens) set(token.id, token.content, token.special);
  return entries;
}

std::vector<AddedToken> with_normalized(const std::vector<AddedToken>& tokens, bool normalized) {
  std::vector<AddedToken> result;
  std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(result),
               [normalized](const AddedToken& token) { return token.normalized == normalized; });
  return result;
}

void erase_all(std::string& text, std::string_view mark) {
  std::size_t kept = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t found = std::min(text.find(mark, at), text.size());
    std::copy(text.begin() + at, text.begin() + found, text.begin() + kept);
    kept += found - at;
    at = std::min(found + mark.size(), text.size());
  }
  text.resize(kept);
}

}  // namespace

struct Tokenizer::State {
  TokenizerParts parts;
  AddedTokenMatcher raw_tokens, normalized_tokens;  // the second looks in what the first leaves
  std::vector<TokenEntry> entries;
  std::vector<std::string> special_names;

  explicit State(TokenizerParts read)
      : parts(std::move(read)),
        raw_tokens(with_normalized(parts.added_tokens, false)),
        normalized_tokens(with_normalized(parts.added_tokens, true)),
        entries(entries_by_id(parts)) {
    for (const AddedToken& token : parts.added_tokens) {
      if (token.special) special_names.push_back(token.content);
    }
  }

  const TokenEntry& entry(TokenId token) const {
    static const TokenEntry none;
    return token < 0 || static_cast<std::size_t>(token) >= entries.size() ? none : entries[token];
  }

  std::vector<TextSpan> cut_at_added_tokens(std::string_view text) const {
    std::vector<TextSpan> first, spans;
    raw_tokens.split(text, first);
    for (const TextSpan& span : first) {
      if (span.token >= 0) {
        spans.push_back(span);
      } else {
        normalized_tokens.split(span.text, spans);
      }
    }
    return spans;
  }

  void encode_text(std::string text, std::vector<TokenId>& tokens) const {
    const TextPieces pieces = parts.pre_tokenizer.run(std::move(text));
    std::size_t begin = 0;
    for (const std::size_t end : pieces.ends) {
      parts.model.encode(std::string_view(pieces.text).substr(begin, end - begin), tokens);
      begin = end;
    }
  }
};

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::load(const std::filesystem::path& tokenizer_json) {
  return Tokenizer(std::make_unique<State>(read_tokenizer_json(tokenizer_json)));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::string repaired;
  if (!is_valid_utf8(text)) text = repaired = to_valid_utf8(text);
  std::vector<TokenId> tokens;
  if (options.add_special_tokens) tokens = state_->parts.prefix;
  for (const TextSpan& span : state_->cut_at_added_tokens(text)) {
    if (span.token >= 0) {
      tokens.push_back(span.token);
      continue;
    }
    std::string literal(span.text);
    if (!options.literal_mark.empty()) erase_all(literal, options.literal_mark);
    state_->encode_text(std::move(literal), tokens);
  }
  if (options.add_special_tokens) {
    tokens.insert(tokens.end(), state_->parts.suffix.begin(), state_->parts.suffix.end());
  }
  return tokens;
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, bool skip_special_tokens) const {
  std::string bytes;
  for (const TokenId token : tokens) {
    const TokenEntry& entry = state_->entry(token);
    if (!(skip_special_tokens && entry.special)) bytes += entry.bytes;
  }
  return to_valid_utf8(bytes);
}

const std::string& Tokenizer::token_bytes(TokenId token) const {
  return state_->entry(token).bytes;
}

const std::string& Tokenizer::token_string(TokenId token) const {
  return state_->entry(token).text;
}

bool Tokenizer::is_special(TokenId token) const {
  return state_->entry(token).special;
}

std::optional<TokenId> Tokenizer::find(std::string_view token) const {
  const auto& added = state_->parts.added_tokens;
  const auto match = std::find_if(added.begin(), added.end(),
                                  [token](const AddedToken& entry) { return entry.content == token; });
  if (match != added.end()) return match->id;
  const Vocabulary& vocabulary = state_->parts.model.vocabulary();
  const auto found = vocabulary.find(token);
  if (found == vocabulary.end()) return std::nullopt;
  return found->second;
}

std::int64_t Tokenizer::vocab_size() const {
  return static_cast<std::int64_t>(state_->entries.size());
}

const std::vector<std::string>& Tokenizer::special_token_names() const {
  return state_->special_names;
}

}  // namespace sinkstream
