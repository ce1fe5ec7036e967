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
  const SessionContents& contents() const { return before_; }  // before the turn

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
  void roll_back(std::int64_t to, const std::vector<TokenId>& pending);
  void lose();  // the session has ended
  void release();

  SessionUsage usage() const;  // as it is now; after release, as it was then

 private:
  const std::shared_ptr<SessionRegistry> registry_;
  const std::shared_ptr<ClientSession> session_;
  const SessionContents before_;
  std::vector<TokenId> added_;
  SharedTokens prompt_;
  std::int64_t tokens_before_ = 0;
  bool goes_back_ = false;
  std::optional<ChatMark> chat_;
  bool released_ = false;
  SessionUsage last_usage_;
};

}  // namespace sinkstream
