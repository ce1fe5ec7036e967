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
#include "coordinator/api/sessions/session_head.h"
#include "coordinator/api/sessions/session_settings.h"
#include "coordinator/http/exchange.h"
#include "coordinator/http/message/message.h"
#include "coordinator/http/message/request_error.h"

namespace sinkstream {

class Journal;
class SessionTurn;

RequestError no_such_session(const std::string& id);  // 404

// Any thread. Sessions enter the engine with their first turn, and leave it when they end, or when another
// needs their place there and they can be made anew from their tokens.
class SessionRegistry : public std::enable_shared_from_this<SessionRegistry> {
 public:
  // `has_keys`: the server asks for API keys, so that sessions have owners.
  // `journal`: sessions are kept there too; null: in memory only. `arithmetic`: as ApiSettings has it.
  SessionRegistry(EngineClient& engine, std::weak_ptr<Executor> executor, const SessionSettings& settings,
                  bool has_keys, Journal* journal = nullptr, std::string arithmetic = {});

  const SessionSettings& settings() const { return settings_; }
  const SessionShape& shape() const { return engine_.limits().session; }
  // What stands for the request's API key: the key itself is not kept.
  std::string owner_of(const Request& request) const;

  // Fills in the id, the number and the time. It is busy until whoever makes it calls end_turn. Throws
  // RequestError (429): there are as many as may be. `from`: it has all its tokens of that one.
  std::shared_ptr<ClientSession> add(SessionFacts facts, SessionContents contents,
                                     const ClientSession* from = nullptr);
  // Throw RequestError (404): there is none, or it is another's.
  std::shared_ptr<ClientSession> find(const std::string& id, const Request& request);
  // Also 409: it is in a turn, or does not have as many tokens as expected.
  std::shared_ptr<SessionTurn> begin_turn(const std::string& id, const Request& request,
                                          std::optional<std::int64_t> expected_seen = std::nullopt);
  std::vector<std::shared_ptr<ClientSession>> list(const Request& request);  // the oldest first

  void remove(ClientSession& session);
  std::size_t size() const;
  std::size_t stored() const;  // those that the engine does not have

  // ---- The journal
  // Takes up the sessions that stand there; before the first request. `slot_bytes`: as SessionFacts has it.
  void take_up(std::int64_t slot_bytes);
  bool keeps_on_disk() const { return journal_ != nullptr; }
  // In memory; on disk there may be more.
  Transcript new_transcript(std::int64_t begin = 0) const;
  // What tells of a session, or of all (empty id), goes out when all of it is written.
  std::shared_ptr<Exchange> when_written(const std::shared_ptr<Exchange>& exchange,
                                         const std::string& session) const;
  // What a session, which is in a turn, has more than before; and all that has changed. `turn_from`: as far
  // as it had come when the turn began.
  void record_tokens(ClientSession& session);
  void record_turn(ClientSession& session, std::int64_t turn_from);
  // Of [from, to) what is kept on disk, not on the I/O thread. Throws RequestError (410).
  KeptTokens read(const ClientSession& session, std::int64_t from, std::int64_t to) const;
  // At the end of its turn, before that is recorded: has the engine keep its state, if making it anew would
  // cost more than it may.
  void save_if_due(const std::shared_ptr<ClientSession>& session);
  // A turn has ended whose session is broken.
  void revert(ClientSession& session);

  // ---- The engine; the I/O thread
  // Null: it is done.
  using Done = std::function<void(const Refused* refused)>;
  // Gives it the first `length` tokens of a session that it does not have.
  void enter_engine(const std::shared_ptr<ClientSession>& session, std::int64_t length, Done done);
  // A name for a session there, unless it has ended; then kNoSession.
  SessionId name_in_engine(ClientSession& session);
  void leave_engine(ClientSession& session);
  // The session's slot is wanted there: it leaves, if it rests and can come back.
  void give_up_slot(SessionId wanted);
  Executor::TimePoint now() const;

 private:
  std::int64_t kept_by(const std::string& owner) const;  // with mutex_
  void expire();
  void wake_at(Executor::TimePoint time);  // to expire
  void close(SessionId id);
  void if_kept(const std::string& id, const std::function<void()>& write);
  struct Stored {
    SessionHead head;
    std::vector<TokenId> sinks;
    std::int64_t begin = 0;  // of `tokens`, the newest
    std::vector<TokenId> tokens;
    bool is_cut = false;  // there may have been more
  };
  Stored read_stored(const ClientSession& session) const;
  std::int64_t needed_tokens() const;
  void record_new(ClientSession& session, const ClientSession* from);
  void record_end(const ClientSession& session);
  void load(ClientSession& session);
  void keep_snapshots() const;
  void drop_snapshot(const ClientSession& session);
  void take_failure(const std::string& id);
  bool make_room_in_engine();
  bool leave_engine_if_idle(ClientSession& session);

  EngineClient& engine_;
  const std::weak_ptr<Executor> executor_;
  const SessionSettings settings_;
  const std::size_t max_sessions_;
  const bool has_keys_;
  Journal* const journal_;
  const std::string salt_;
  const std::string arithmetic_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<ClientSession>> sessions_;  // guarded by mutex_
  std::uint64_t next_number_ = 1;                                   // guarded by mutex_
  SessionId next_engine_id_ = 1;                                    // guarded by mutex_
  Executor::TimePoint wakes_at_ = Executor::TimePoint::max();       // guarded by mutex_
};

}  // namespace sinkstream
