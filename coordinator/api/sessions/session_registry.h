// The sessions that clients keep, each its owner's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/api/engine_client.h"
#include "coordinator/api/sessions/client_session.h"
#include "coordinator/api/sessions/session_settings.h"
#include "coordinator/http/message/message.h"

namespace sinkstream {

class SessionTurn;

// Any thread. Sessions enter the engine with their first turn, and leave it when they end, or when another
// needs their place there and they can be made anew from their tokens.
class SessionRegistry : public std::enable_shared_from_this<SessionRegistry> {
 public:
  // `has_keys`: the server asks for API keys, so that sessions have owners.
  SessionRegistry(EngineClient& engine, std::weak_ptr<Executor> executor, const SessionSettings& settings,
                  bool has_keys);

  const SessionSettings& settings() const { return settings_; }
  const SessionShape& shape() const { return engine_.limits().session; }
  std::string owner_of(const Request& request) const;

  // Fills in the id, the number and the time. It is busy until whoever makes it calls end_turn. Throws
  // RequestError (429): there are as many as may be.
  std::shared_ptr<ClientSession> add(SessionFacts facts, SessionContents contents);
  // Throw RequestError (404): there is none, or it is another's.
  std::shared_ptr<ClientSession> find(const std::string& id, const Request& request);
  // Also 409: it is in a turn, or does not have as many tokens as expected.
  std::shared_ptr<SessionTurn> begin_turn(const std::string& id, const Request& request,
                                          std::optional<std::int64_t> expected_seen = std::nullopt);
  std::vector<std::shared_ptr<ClientSession>> list(const Request& request);  // the oldest first

  void remove(ClientSession& session);
  std::size_t size() const;

  // ---- The engine; the I/O thread
  // Null: it is done.
  using Done = std::function<void(const Refused* refused)>;
  // Gives it the first `length` tokens of a session that it does not have.
  void enter_engine(const std::shared_ptr<ClientSession>& session, std::int64_t length, Done done);
  // A name for a session there, unless it has ended; then kNoSession.
  SessionId name_in_engine(ClientSession& session);
  void leave_engine(ClientSession& session);
  Executor::TimePoint now() const;

 private:
  void expire();
  void wake_at(Executor::TimePoint time);  // to expire
  void close(SessionId id);
  bool make_room_in_engine();

  EngineClient& engine_;
  const std::weak_ptr<Executor> executor_;
  const SessionSettings settings_;
  const std::size_t max_sessions_;
  const bool has_keys_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<ClientSession>> sessions_;  // guarded by mutex_
  std::uint64_t next_number_ = 1;                                   // guarded by mutex_
  SessionId next_engine_id_ = 1;                                    // guarded by mutex_
  Executor::TimePoint wakes_at_ = Executor::TimePoint::max();       // guarded by mutex_
};

}  // namespace sinkstream
