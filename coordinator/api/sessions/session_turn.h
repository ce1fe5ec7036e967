// A session's turn: it belongs to one request, from its parsing until the engine has ended it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "coordinator/api/sessions/client_session.h"
#include "coordinator/api/sessions/session_registry.h"
#include "engine/events.h"
#include "engine/shared_tokens.h"

namespace sinkstream {

// One thread at a time. As long as it lives the session is busy, unless release() was called.
class SessionTurn {
 public:
  SessionTurn(std::shared_ptr<SessionRegistry> registry, std::shared_ptr<ClientSession> session);
  ~SessionTurn();
  SessionTurn(const SessionTurn&) = delete;
  SessionTurn& operator=(const SessionTurn&) = delete;

  const ClientSession& session() const { return *session_; }
  const SessionContents& contents() const { return session_->contents(); }  // until it is released

  // ---- What the engine is to take in
  // `tokens` are new. If there is nothing that it could take in, the newest token is taken in anew: what
  // follows is chosen from what comes out of it. Throws RequestError (400): the session is empty.
  void plan(std::vector<TokenId> tokens);
  const SharedTokens& prompt() const { return prompt_; }
  std::int64_t tokens_before() const { return tokens_before_; }  // that the engine has, before the prompt
  // The chat that it goes on with: `messages` since the last user's, and whether an answer follows.
  void set_chat(nlohmann::ordered_json messages, bool answering);

  // ---- The engine; the I/O thread
  SessionId engine_id() const { return session_->engine_id(); }
  // Has the session there as it was before the prompt, made anew if need be.
  void enter_engine(EngineClient& engine, SessionsInEngine::Done done);
  // A turn was refused: whether the engine has lost the session, and may be asked once more.
  bool may_ask_again(const Refused& refused);
  // It can go back to `position` in the engine's stead, which has it no more then.
  bool can_be_made_anew(std::int64_t position) const;
  void leave_engine() { registry_->in_engine().leave(*session_); }

  // ---- As the engine tells
  void accept();
  void tell(TokenId token);
  // The engine has `seen` tokens, and `pending` are to follow. The session is free again.
  void settle(std::int64_t seen, const std::vector<TokenId>& pending);
  void settle(const TurnEnded& event);  // so, or the engine has lost it
  void roll_back(std::int64_t to, const std::vector<TokenId>& pending);
  void release();

  SessionUsage usage() const;  // as it is now; after release, as it was then

 private:
  const std::shared_ptr<SessionRegistry> registry_;
  const std::shared_ptr<ClientSession> session_;
  std::vector<TokenId> added_;
  SharedTokens prompt_;
  std::int64_t tokens_before_ = 0;
  bool goes_back_ = false;  // first, to tokens_before_
  bool asked_again_ = false;
  bool accepted_ = false;
  std::int64_t began_at_ = 0;  // tokens
  std::optional<ChatMark> chat_;
  std::optional<std::int64_t> answer_from_;  // where the answer begins that it gives or goes on with
  bool released_ = false;
  SessionUsage last_usage_;
};

}  // namespace sinkstream
