// Text to tokens and back, from a Hugging Face tokenizer.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/token_id.h"
#include "text/tokenizer/steps/decoder.h"

namespace sinkstream {

struct EncodeOptions {
  bool add_special_tokens = true;  // what the post-processor adds, e.g. the begin token
  // A mark that keeps text from being taken for a special token: it is removed after the text is cut at
  // special tokens. A message's content gets it inside every special token's name. Empty: none.
  std::string_view literal_mark = {};
};

// Immutable after loading; any thread.
class Tokenizer {
 public:
  // Throws StartupError (ExitCode::model) naming file and field; what is not supported is refused by name.
  static Tokenizer load(const std::filesystem::path& tokenizer_json);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  // Any bytes: invalid UTF-8 is replaced by U+FFFD first. Time is near linear in the length of the text.
  // Throws std::runtime_error when the tokenizer's own regular expression gives up on the text, or when a
  // character is unknown and so is the token for unknown ones.
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;
  // How many tokens `add_special_tokens` puts before a text.
  std::int64_t num_tokens_before_text() const;

  // Always valid UTF-8 (parts of characters become U+FFFD). Ids that are not in the vocabulary give nothing.
  std::string decode(std::span<const TokenId> tokens, bool skip_special_tokens) const;

  // For TextDecoder: where a stream begins, and what it takes for a token (empty: no such token).
  DecodeStream start_decoding(bool continues_text) const;
  const std::string& decoder_input(TokenId token) const;
  bool has_text(TokenId token, bool skip_special_tokens) const;  // it is not left out

  // The bytes that a token adds to a text that has begun; may be part of a character. Special tokens: their
  // name. Empty: no such token.
  const std::string& token_bytes(TokenId token) const;
  // As it stands in the vocabulary (e.g. "Ġthe"). Empty: no such token.
  const std::string& token_string(TokenId token) const;
  bool is_special(TokenId token) const;
  std::optional<TokenId> find(std::string_view token) const;  // by its vocabulary string
  std::int64_t vocab_size() const;                            // largest id + 1

  // Names of the special tokens, for marking literal text. Added tokens that are not special (runs of spaces)
  // are ordinary text that a message may contain.
  const std::vector<std::string>& special_token_names() const;

  // Whether normalizing makes a special token's name of something in the text that does not look like one.
  bool hides_special_names(std::string_view text) const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Decodes token by token; the pieces together are what Tokenizer::decode makes of all the tokens.
class TextDecoder {
 public:
  // `continues_text`: text stands before the first token, so nothing is stripped from its beginning.
  TextDecoder(const Tokenizer& tokenizer, bool skip_special_tokens, bool continues_text = false);
  std::string push(TokenId token);  // what has become certain: whole characters
  std::string finish();             // the rest
  // What finish() would give now; none if more than so many bytes are not certain.
  std::optional<std::string> rest(std::size_t max_bytes) const;

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_tokens_;
  DecodeStream stream_;
};

}  // namespace sinkstream
