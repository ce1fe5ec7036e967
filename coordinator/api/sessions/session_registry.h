// The sessions that clients keep: whose they are, how many there may be, and when they end.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/api/engine_client.h"
#include "coordinator/api/sessions/client_session.h"
#include "coordinator/api/sessions/kept_sessions.h"
#include "coordinator/api/sessions/session_settings.h"
#include "coordinator/api/sessions/session_snapshots.h"
#include "coordinator/api/sessions/sessions_in_engine.h"
#include "coordinator/api/sessions/sessions_on_disk.h"
#include "coordinator/http/message/message.h"

namespace sinkstream {

class Journal;
class SessionTurn;

// Any thread.
class SessionRegistry : public std::enable_shared_from_this<SessionRegistry> {
 public:
  // `has_keys`: the server asks for API keys, so that sessions have owners.
  // `journal`, `arithmetic`: as SessionsOnDisk has them.
  SessionRegistry(EngineClient& engine, std::weak_ptr<Executor> executor, const SessionSettings& settings,
                  bool has_keys, Journal* journal = nullptr, std::string arithmetic = {});
  void take_up(std::int64_t slot_bytes);  // what stands on disk (SessionsOnDisk); before the first request

  const SessionSettings& settings() const { return settings_; }
  const SessionShape& shape() const { return shape_; }  // of the server's sessions
  SessionsInEngine& in_engine() const { return *in_engine_; }
  SessionsOnDisk& on_disk() const { return *on_disk_; }
  SessionSnapshots& snapshots() { return snapshots_; }
  // What stands for the request's API key: the key itself is not kept.
  std::string owner_of(const Request& request) const;

  // Fills in the id, the number and the time. It is busy until whoever makes it calls end_turn. Throws
  // RequestError (429): there are as many as may be. `from`: it has all its tokens of that one.
  std::shared_ptr<ClientSession> add(SessionFacts facts, SessionContents contents,
                                     const ClientSession* from = nullptr);
  // Throw RequestError (404): there is none, or it is another's. All but the second also 500: it is damaged.
  std::shared_ptr<ClientSession> find(const std::string& id, const Request& request);
  std::shared_ptr<ClientSession> find_to_remove(const std::string& id, const Request& request);
  // Also 409: it is in a turn, or does not have as many tokens as expected.
  std::shared_ptr<SessionTurn> begin_turn(const std::string& id, const Request& request,
                                          std::optional<std::int64_t> expected_seen = std::nullopt);
  std::vector<std::shared_ptr<ClientSession>> list(const Request& request);  // the oldest first

  void remove(ClientSession& session);
  std::size_t size() const { return kept_->size(); }
  Executor::TimePoint now() const;

 private:
  void require_room(const CacheWindow& window) const;
  void check_room(const KeptSessions::Map& sessions, const std::string& owner) const;
  void end(ClientSession& session);
  void note_not_removed();  // on disk: it is still there
  void expire();
  void wake_at(Executor::TimePoint time);  // to expire

  const std::weak_ptr<Executor> executor_;
  const SessionSettings settings_;
  const SessionShape shape_;
  const std::size_t max_sessions_;
  const bool has_keys_;
  const std::string salt_;
  const std::shared_ptr<KeptSessions> kept_;
  const std::shared_ptr<SessionsInEngine> in_engine_;
  const std::shared_ptr<SessionsOnDisk> on_disk_;
  SessionSnapshots snapshots_;
  std::uint64_t next_number_ = 1;  // guarded by the lock of `kept_`
  std::mutex mutex_;
  Executor::TimePoint wakes_at_ = Executor::TimePoint::max();  // guarded by mutex_
  Executor::TimePoint expires_none_until_;                     // guarded by mutex_
};

}  // namespace sinkstream
