#include "coordinator/api/choice.h"

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

}  // namespace

void Piece::append(Piece piece) {
  text += piece.text;
  move_to_end(tokens, std::move(piece.tokens));
  move_to_end(token_ids, std::move(piece.token_ids));
}

Choice::Choice(const Tokenizer& tokenizer, const GenerationOptions& options, const Prompt& prompt)
    : tokenizer_(tokenizer),
      echo_(options.echo),
      logprobs_(options.logprobs),
      return_token_ids_(options.return_token_ids),
      hidden_tokens_left_(prompt.hidden_tokens),
      in_prompt_(options.echo),
      prompt_(tokenizer, {}, /*skip_special_tokens=*/false),
      output_(tokenizer, options.stop, /*skip_special_tokens=*/true, prompt.answer_continues_text) {}

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
  if (logprobs_) add_report(std::move(event), tokenizer_.is_special(token));
  if (return_token_ids_) piece.token_ids.push_back(token);
  show(output_.push(token), piece);
  return piece;
}

Piece Choice::push_prompt(TokenEvent event) {
  Piece piece;
  const TokenId token = event.token;
  const bool hidden = hidden_tokens_left_ > 0;
  if (hidden) --hidden_tokens_left_;
  add_report(std::move(event), hidden);
  show(hidden ? std::string() : prompt_.push(token), piece);
  return piece;
}

Piece Choice::finish() {
  Piece piece;
  if (std::exchange(in_prompt_, false)) show(prompt_.finish(), piece);
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
    return token.begin < shown_bytes_ || (token.bytes == 0 && token.begin == shown_bytes_);
  };
  while (!waiting_.empty() && is_shown(waiting_.front())) {
    piece.tokens.push_back(std::move(waiting_.front().report));
    waiting_.pop_front();
  }
}

}  // namespace sinkstream
