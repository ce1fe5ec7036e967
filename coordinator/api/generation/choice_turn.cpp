#include "coordinator/api/generation/choice_turn.h"

#include <algorithm>
#include <utility>

namespace sinkstream {

ChoiceTurn::ChoiceTurn(Choice choice, std::int64_t prompt_tokens, const CacheWindow& window,
                       CreditWindow credit, bool may_go_back)
    : choice_(std::move(choice)),
      prompt_tokens_(prompt_tokens),
      window_(window),
      credit_(credit),
      may_go_back_(may_go_back) {}

Piece ChoiceTurn::take(TokenEvent event, bool own) {
  if (own) ++received_;
  if (!event.from_prompt) last_token_ = event.token;
  return choice_.push(std::move(event));
}

Piece ChoiceTurn::end(const char* reason, std::optional<TokenId> stop_token) {
  Piece piece = choice_.finish(stop_token);
  finish_reason_ = choice_.stopped() ? "stop" : reason;
  if (choice_.stopped()) session_.reset();  // also when what was held back to the last was a stop string
  return piece;
}

std::optional<std::int64_t> ChoiceTurn::renew_credit() {
  if (ended() || over_) return std::nullopt;
  const std::int64_t in_doubt = may_go_back_ ? choice_.completion_tokens() - choice_.told_tokens() : 0;
  return credit_.renew(received_, received_ - in_doubt);
}

// The last token is chosen, and not taken in any more.
std::int64_t ChoiceTurn::position() const {
  const std::int64_t taken = std::max<std::int64_t>(choice_.completion_tokens() - 1, 0);
  return prompt_tokens_ + (choice_.stopped() ? std::min(choice_.told_tokens(), taken) : taken);
}

EndTurn ChoiceTurn::where_it_ends(RequestId request, std::int32_t index) const {
  EndTurn command{request, index, position(), {}};
  if (choice_.told_tokens() == choice_.completion_tokens()) command.pending = {last_token_};
  return command;
}

void ChoiceTurn::take_end(const TurnEnded& event) {
  over_ = true;
  // Else it had ended, or could not go back, before it heard where the answer ends.
  const bool as_told = event.reason == FinishReason::stop && !event.stop_token;
  if (!ended() || as_told) session_ = event.usage;
}

SessionUsage ChoiceTurn::session() const {
  return session_.value_or(session_usage(position(), window_));
}

}  // namespace sinkstream
