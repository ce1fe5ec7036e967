#include "coordinator/api/generation/choice.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace sinkstream {
namespace {

std::int64_t count_characters(std::string_view bytes) {
  return std::count_if(bytes.begin(), bytes.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

template <typename T>
void move_to_end(std::vector<T>& to, std::vector<T>&& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

template <typename T>
void keep_first(std::vector<T>& items, std::size_t count) {
  if (items.size() > count) items.resize(count);
}

}  // namespace

void Piece::append(Piece piece) {
  text += piece.text;
  move_to_end(tokens, std::move(piece.tokens));
  move_to_end(token_ids, std::move(piece.token_ids));
  move_to_end(prompt, std::move(piece.prompt));
}

Choice::Choice(const Tokenizer& tokenizer, const GenerationOptions& options, const Prompt& prompt)
    : tokenizer_(tokenizer),
      echo_(options.echo),
      logprobs_(options.logprobs),
      top_logprobs_(static_cast<std::size_t>(options.top_logprobs)),
      return_token_ids_(options.return_token_ids),
      include_stop_(options.include_stop),
      min_tokens_(options.min_tokens),
      prompt_logprobs_(options.prompt_logprobs),
      hidden_tokens_left_(prompt.hidden_tokens),
      in_prompt_(options.echo),
      skip_special_tokens_(options.skip_special_tokens),
      prompt_(tokenizer, {.stops = {}, .skip_special_tokens = false}),
      output_(tokenizer, {.stops = options.stop,
                          .include_stop = options.include_stop,
                          .skip_special_tokens = options.skip_special_tokens,
                          .continues_text = prompt.answer_continues_text}) {}

Piece Choice::opening(const Prompt& prompt) {
  Piece piece;
  if (!echo_ || logprobs_) return piece;
  const std::vector<TokenId> shown(prompt.tokens.begin() + prompt.hidden_tokens, prompt.tokens.end());
  piece.text = tokenizer_.decode(shown, /*skip_special_tokens=*/false);
  in_prompt_ = false;
  return piece;
}

Piece Choice::push(TokenEvent event) {
  if (event.from_prompt) return push_prompt(std::move(event));
  Piece piece;
  if (std::exchange(in_prompt_, false)) show(prompt_.finish(), piece);
  ++completion_tokens_;
  const TokenId token = event.token;
  if (logprobs_) add_report(std::move(event), !tokenizer_.has_text(token, skip_special_tokens_));
  if (return_token_ids_) piece.token_ids.push_back(token);
  show(output_.push(token, /*may_stop=*/completion_tokens_ > min_tokens_), piece);
  return piece;
}

Piece Choice::push_prompt(TokenEvent event) {
  Piece piece;
  const TokenId token = event.token;
  if (prompt_logprobs_) {
    piece.prompt.push_back({token, event.logprob, event.top, /*text_offset=*/0, event.rank});
    keep_first(piece.prompt.back().top, *prompt_logprobs_);
  }
  if (!echo_ || !logprobs_) return piece;  // an echo without them is the opening
  keep_first(event.top, top_logprobs_);
  const bool hidden = hidden_tokens_left_ > 0;
  if (hidden) --hidden_tokens_left_;
  add_report(std::move(event), hidden);
  show(hidden ? std::string() : prompt_.push(token), piece);
  return piece;
}

Piece Choice::finish(std::optional<TokenId> stop_token) {
  Piece piece;
  if (std::exchange(in_prompt_, false)) show(prompt_.finish(), piece);
  if (stop_token && include_stop_) show(output_.push(*stop_token, /*may_stop=*/false), piece);
  show(output_.finish(), piece);
  if (!stopped()) {
    for (Waiting& waiting : waiting_) piece.tokens.push_back(std::move(waiting.report));
  }
  waiting_.clear();
  return piece;
}

void Choice::add_report(TokenEvent event, bool hidden) {
  const std::string bytes = hidden ? std::string() : tokenizer_.token_bytes(event.token);
  const auto size = static_cast<std::int64_t>(bytes.size());
  waiting_.push_back(
      {{event.token, event.logprob, std::move(event.top), taken_characters_}, taken_bytes_, size});
  taken_bytes_ += size;
  taken_characters_ += count_characters(bytes);
}

void Choice::show(std::string text, Piece& piece) {
  shown_bytes_ += static_cast<std::int64_t>(text.size());
  piece.text += text;
  const auto is_shown = [&](const Waiting& token) {
    if (token.bytes == 0 && token.begin == shown_bytes_) return !output_.undecided();
    return token.begin < shown_bytes_;
  };
  while (!waiting_.empty() && is_shown(waiting_.front())) {
    piece.tokens.push_back(std::move(waiting_.front().report));
    waiting_.pop_front();
  }
}

}  // namespace sinkstream
