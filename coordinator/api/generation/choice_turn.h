// A choice and its turn in the engine: what has come of it, how much it may send, where its session stands.
// No I/O.
#pragma once

#include <cstdint>
#include <optional>

#include "coordinator/api/generation/choice.h"
#include "coordinator/api/generation/credit_window.h"
#include "engine/commands.h"
#include "engine/events.h"

namespace sinkstream {

class ChoiceTurn {
 public:
  // `may_go_back`: a stop string would take the session back.
  ChoiceTurn(Choice choice, std::int64_t prompt_tokens, const CacheWindow& window, CreditWindow credit,
             bool may_go_back);

  const Choice& choice() const { return choice_; }
  Piece opening(const Prompt& prompt) { return choice_.opening(prompt); }
  // `own`: it was sent as this choice's, and took of its credit.
  Piece take(TokenEvent event, bool own);
  // The answer ends. The turn may go on until the engine hears of that.
  Piece end(const char* reason, std::optional<TokenId> stop_token = std::nullopt);
  bool ended() const { return finish_reason_ != nullptr; }
  const char* finish_reason() const { return finish_reason_; }  // "stop" whenever a stop string came

  // What the choice may send in all, when it is time to say so.
  std::optional<std::int64_t> renew_credit();

  // To end the turn: the session goes back to the last token boundary not after the told text.
  EndTurn where_it_ends(RequestId request, std::int32_t index) const;

  // The engine has ended the turn.
  void take_end(const TurnEnded& event);
  bool over() const { return over_; }

  // So far, or at its end.
  SessionUsage session() const;

 private:
  std::int64_t position() const;

  Choice choice_;
  std::int64_t prompt_tokens_;
  CacheWindow window_;
  CreditWindow credit_;
  bool may_go_back_;
  std::int64_t received_ = 0;  // token events of its own
  TokenId last_token_ = 0;
  const char* finish_reason_ = nullptr;
  bool over_ = false;
  std::optional<SessionUsage> session_;  // as the engine says, where it ended as the answer does
};

}  // namespace sinkstream
