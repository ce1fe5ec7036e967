// One choice of an answer while it grows: tokens in, text and log-probabilities out. No I/O.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/api/request/generation_options.h"
#include "engine/engine.h"
#include "text/tokenizer/text_stream.h"
#include "text/tokenizer/tokenizer.h"

namespace sinkstream {

struct Prompt {
  SharedTokens tokens;
  // Leading tokens that the tokenizer put before the client's text; an echo does not show them.
  std::int64_t hidden_tokens = 0;
  // The answer goes on where this text ends: a space that its first word begins with is part of it, which a
  // decoder strips from the beginning of a text.
  bool answer_continues_text = false;
};

struct TokenReport {
  TokenId token = 0;
  std::optional<float> logprob;  // none for the first token of a prompt
  std::vector<TokenLogprob> top;
  std::int64_t text_offset = 0;  // in characters, from the beginning of the text
  std::int64_t rank = 0;         // of a prompt token that has a logprob: 1 for the likeliest
};

// What has become visible since the last piece.
struct Piece {
  std::string text;
  std::vector<TokenReport> tokens;  // only with logprobs
  std::vector<TokenId> token_ids;   // only with return_token_ids
  std::vector<TokenReport> prompt;  // only with prompt_logprobs: all of its tokens
  bool empty() const { return text.empty() && tokens.empty() && token_ids.empty() && prompt.empty(); }
  void append(Piece piece);
};

class Choice {
 public:
  Choice(const Tokenizer& tokenizer, const GenerationOptions& options, const Prompt& prompt);

  // Once, first: an echo that needs nothing from the engine.
  Piece opening(const Prompt& prompt);
  Piece push(TokenEvent event);
  // Ends the text: what was held back in case it became part of a character or stop string. `stop_token`
  // ended the answer, if one did.
  Piece finish(std::optional<TokenId> stop_token = std::nullopt);

  // A stop string came: nothing more will be shown, and push must not be called any more.
  bool stopped() const { return output_.stopped(); }
  std::int64_t completion_tokens() const { return completion_tokens_; }

  // How many output tokens were shown whole, and what was shown of the next ones: the text of a session that
  // goes on behind those tokens.
  std::int64_t told_tokens() const { return std::min(output_.told_tokens(), completion_tokens_); }
  const std::string& pending_text() const { return output_.pending_text(); }

 private:
  Piece push_prompt(TokenEvent event);
  void add_report(TokenEvent event, bool hidden);
  void show(std::string text, Piece& piece);

  const Tokenizer& tokenizer_;
  bool echo_;
  bool logprobs_;
  std::size_t top_logprobs_;
  bool return_token_ids_;
  bool include_stop_;
  std::int64_t min_tokens_;
  std::optional<std::size_t> prompt_logprobs_;
  std::int64_t hidden_tokens_left_;  // of the prompt's reports
  bool in_prompt_;                   // the echo is not finished
  bool skip_special_tokens_;
  TextStream prompt_;
  TextStream output_;
  std::int64_t completion_tokens_ = 0;

  // Reports wait until their text is shown, so that they do not give away a stop string.
  struct Waiting {
    TokenReport report;
    std::int64_t begin;  // byte offset of its text
    std::int64_t bytes;
  };
  std::deque<Waiting> waiting_;
  std::int64_t taken_bytes_ = 0;
  std::int64_t taken_characters_ = 0;
  std::int64_t shown_bytes_ = 0;
};

}  // namespace sinkstream
