// A session's turn: it belongs to one request, from its parsing until the engine has ended it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "coordinator/api/sessions/client_session.h"
#include "engine/events.h"
#include "engine/shared_tokens.h"

namespace sinkstream {

class SessionRegistry;

// One thread at a time. As long as it lives the session is busy, unless release() was called.
class SessionTurn {
 public:
  SessionTurn(std::shared_ptr<SessionRegistry> registry, std::shared_ptr<ClientSession> session);
  ~SessionTurn();
  SessionTurn(const SessionTurn&) = delete;
  SessionTurn& operator=(const SessionTurn&) = delete;

  const ClientSession& session() const { return *session_; }
  const SessionContents& contents() const { return session_->contents(); }  // until it is released
  // Where the engine stands when the session has `position` tokens: what was not sent yet is none of its.
  std::int64_t in_engine(std::int64_t position) const { return contents().unsent.empty() ? position : 0; }

  // ---- What the engine is to take in
  // `tokens` are new. If there is nothing that it could take in, the newest token is taken in anew: what
  // follows is chosen from what comes out of it. Throws RequestError (400): the session is empty.
  void plan(std::vector<TokenId> tokens);
  const SharedTokens& prompt() const { return prompt_; }
  std::int64_t tokens_before() const { return tokens_before_; }  // that the engine has, before the prompt
  bool goes_back() const { return goes_back_; }                  // first, to tokens_before()
  // The chat that it goes on with: `messages` since the last user's, and whether an answer follows.
  void set_chat(nlohmann::ordered_json messages, bool answering);

  // ---- As the engine tells
  void accept();
  void tell(TokenId token);
  // The engine has `seen` tokens, and `pending` are to follow. The session is free again.
  void settle(std::int64_t seen, const std::vector<TokenId>& pending);
  void settle(const TurnEnded& event);  // so, or the session has ended with its turn
  void roll_back(std::int64_t to, const std::vector<TokenId>& pending);
  void lose();  // the session has ended
  void release();

  SessionUsage usage() const;  // as it is now; after release, as it was then

 private:
  const std::shared_ptr<SessionRegistry> registry_;
  const std::shared_ptr<ClientSession> session_;
  std::vector<TokenId> added_;
  SharedTokens prompt_;
  std::int64_t tokens_before_ = 0;
  bool goes_back_ = false;
  std::optional<ChatMark> chat_;
  std::optional<std::int64_t> answer_from_;  // where the answer begins that it gives or goes on with
  bool released_ = false;
  SessionUsage last_usage_;
};

}  // namespace sinkstream
