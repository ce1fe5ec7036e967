#include "text/tokenizer/tokenizer.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "text/tokenizer/tokenizer_json.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

struct TokenEntry {
  std::string text;           // as in the vocabulary
  std::string decoder_input;  // prepared for the decoder
  std::string bytes;          // what it adds to a text
  bool special = false;
  bool left_out = false;  // of text without special tokens
};

// As the `tokenizers` library has it: an added token that is normalized decodes from its normal form, and is
// left out only if that is a special token's name.
std::vector<TokenEntry> entries_by_id(const TokenizerParts& parts) {
  std::unordered_set<std::string_view> special;
  for (const AddedToken& token : parts.added_tokens) {
    if (token.special) special.insert(token.content);
  }
  std::vector<TokenEntry> entries;
  const auto set = [&](TokenId id, const std::string& text, const std::string& form) {
    if (static_cast<std::size_t>(id) >= entries.size()) entries.resize(static_cast<std::size_t>(id) + 1);
    std::string input = parts.decoder.prepare(form);
    std::string bytes = parts.decoder.bytes_of(input);
    entries[id] = {text, std::move(input), std::move(bytes), special.contains(text), special.contains(form)};
  };
  for (const auto& [text, id] : parts.model.vocabulary()) set(id, text, text);
  for (const AddedToken& token : parts.added_tokens) {
    set(token.id, token.content, token.normalized ? token.normal : token.content);
  }
  return entries;
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
  std::vector<std::string> normal_names;  // of special tokens that are looked for in normalized text

  explicit State(TokenizerParts read)
      : parts(std::move(read)),
        raw_tokens(parts.added_tokens, false),
        normalized_tokens(parts.added_tokens, true),
        entries(entries_by_id(parts)) {
    for (const AddedToken& token : parts.added_tokens) {
      if (!token.special) continue;
      special_names.push_back(token.content);
      if (token.normalized) normal_names.push_back(parts.normalizer.run_inside(token.content));
    }
  }

  const TokenEntry& entry(TokenId token) const {
    static const TokenEntry none;
    return token < 0 || static_cast<std::size_t>(token) >= entries.size() ? none : entries[token];
  }
};

namespace {

// One text on its way to tokens.
class Encoding {
 public:
  Encoding(const TokenizerParts& parts, const AddedTokenMatcher& normalized_tokens,
           bool marks_outlive_normalizing, std::string_view mark, std::vector<TokenId>& tokens)
      : parts_(parts),
        normalized_tokens_(normalized_tokens),
        marks_outlive_normalizing_(marks_outlive_normalizing),
        mark_(mark),
        tokens_(tokens) {}

  // `begins_text`: nothing stands before it in the whole text.
  void add(std::string_view text, bool begins_text) {
    if (mark_.empty() || text.find(mark_) == text.npos) {
      if (parts_.normalizer.empty()) return add_normal(text, begins_text, {});
      return add_normalized(std::string(text), begins_text, {});
    }
    std::string literal(text);
    if (marks_outlive_normalizing_) {
      return add_normalized(std::move(literal), begins_text,
                            parts_.normalizer.run_inside(std::string(mark_)));
    }
    erase_all(literal, mark_);
    add_normalized(std::move(literal), begins_text, {});
  }

 private:
  void add_normalized(std::string text, bool begins_text, const std::string& mark) {
    const Normalizer::Result normal = parts_.normalizer.run(std::move(text));
    add_normal(normal.text, begins_text && normal.same_beginning, mark);
  }

  void add_normal(std::string_view text, bool begins_text, const std::string& mark) {
    spans_.clear();
    normalized_tokens_.split(text, spans_);
    for (const TextSpan& span : spans_) {
      if (span.token >= 0) {
        tokens_.push_back(span.token);
        continue;
      }
      const bool is_first = begins_text && span.text.data() == text.data();
      if (mark.empty()) {
        add_pieces(span.text, is_first);
      } else {
        std::string literal(span.text);
        erase_all(literal, mark);
        add_pieces(literal, is_first);
      }
    }
  }

  void add_pieces(std::string_view text, bool begins_text) {
    parts_.pre_tokenizer.run(text, begins_text, pieces_);
    for (const Pieces::Span& span : pieces_.spans) {
      parts_.model.encode(pieces_.text.substr(span.begin, span.end - span.begin), tokens_);
    }
  }

  const TokenizerParts& parts_;
  const AddedTokenMatcher& normalized_tokens_;
  const bool marks_outlive_normalizing_;
  const std::string_view mark_;
  std::vector<TokenId>& tokens_;
  std::vector<TextSpan> spans_;
  Pieces pieces_;
};

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::load(const std::filesystem::path& tokenizer_json) {
  return Tokenizer(std::make_unique<State>(read_tokenizer_json(tokenizer_json)));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::string repaired;
  if (!is_valid_utf8(text)) text = repaired = to_valid_utf8(text);
  const TokenizerParts& parts = state_->parts;
  std::vector<TokenId> tokens;
  if (options.add_special_tokens) tokens = parts.prefix;
  std::vector<TextSpan> spans;
  state_->raw_tokens.split(text, spans);
  Encoding encoding(parts, state_->normalized_tokens, !state_->normal_names.empty(), options.literal_mark,
                    tokens);
  for (const TextSpan& span : spans) {
    if (span.token >= 0) {
      tokens.push_back(span.token);
    } else {
      encoding.add(span.text, span.text.data() == text.data());
    }
  }
  if (options.add_special_tokens) tokens.insert(tokens.end(), parts.suffix.begin(), parts.suffix.end());
  return tokens;
}

std::int64_t Tokenizer::num_tokens_before_text() const {
  return std::ssize(state_->parts.prefix);
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, bool skip_special_tokens) const {
  std::string text;
  DecodeStream stream = start_decoding(/*continues_text=*/false);
  for (const TokenId token : tokens) {
    if (has_text(token, skip_special_tokens)) stream.push(decoder_input(token), text);
  }
  stream.finish(text);
  return text;
}

DecodeStream Tokenizer::start_decoding(bool continues_text) const {
  return {state_->parts.decoder, continues_text};
}

const std::string& Tokenizer::decoder_input(TokenId token) const {
  return state_->entry(token).decoder_input;
}

const std::string& Tokenizer::token_bytes(TokenId token) const {
  return state_->entry(token).bytes;
}

const std::string& Tokenizer::token_string(TokenId token) const {
  return state_->entry(token).text;
}

bool Tokenizer::has_text(TokenId token, bool skip_special_tokens) const {
  const TokenEntry& entry = state_->entry(token);
  return !entry.text.empty() && !(skip_special_tokens && entry.left_out);
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

bool Tokenizer::hides_special_names(std::string_view text) const {
  if (state_->normal_names.empty() || state_->parts.normalizer.empty()) return false;
  const std::string normal = state_->parts.normalizer.run_inside(to_valid_utf8(text));
  return std::any_of(state_->normal_names.begin(), state_->normal_names.end(),
                     [&normal](const std::string& name) { return normal.find(name) != normal.npos; });
}

TextDecoder::TextDecoder(const Tokenizer& tokenizer, bool skip_special_tokens, bool continues_text)
    : tokenizer_(tokenizer),
      skip_special_tokens_(skip_special_tokens),
      stream_(tokenizer.start_decoding(continues_text)) {}

std::string TextDecoder::push(TokenId token) {
  std::string text;
  if (tokenizer_.has_text(token, skip_special_tokens_)) stream_.push(tokenizer_.decoder_input(token), text);
  return text;
}

std::optional<std::string> TextDecoder::rest(std::size_t max_bytes) const {
  if (stream_.held_bytes() > max_bytes) return std::nullopt;
  DecodeStream ended = stream_;
  std::string text;
  ended.finish(text);
  return text;
}

std::string TextDecoder::finish() {
  std::string text;
  stream_.finish(text);
  return text;
}

}  // namespace sinkstream
