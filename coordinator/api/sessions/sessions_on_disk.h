// What of sessions goes to the journal, and comes back from it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/api/sessions/client_session.h"
#include "coordinator/api/sessions/kept_sessions.h"
#include "coordinator/api/sessions/session_head.h"
#include "coordinator/api/sessions/session_settings.h"
#include "coordinator/api/sessions/sessions_in_engine.h"
#include "coordinator/http/exchange.h"
#include "coordinator/http/executor.h"

namespace sinkstream {

class Journal;
struct StoredSession;

// Any thread. Without a journal nothing is written, and there is nothing to come back.
class SessionsOnDisk : public std::enable_shared_from_this<SessionsOnDisk> {
 public:
  // `journal`: null: in memory only. `arithmetic`: as ApiSettings has it.
  SessionsOnDisk(Journal* journal, std::string arithmetic, const SessionSettings& settings,
                 const SessionShape& shape, std::weak_ptr<Executor> executor,
                 std::shared_ptr<KeptSessions> kept, std::shared_ptr<SessionsInEngine> in_engine);

  bool is_there() const { return journal_ != nullptr; }
  const std::string& arithmetic() const { return arithmetic_; }
  // For what is in memory; on disk there may be more.
  Transcript new_transcript(std::int64_t begin = 0) const;

  // ---- To the journal
  // What tells of a session, or of all (empty id), goes out when all of it is written.
  std::shared_ptr<Exchange> when_written(const std::shared_ptr<Exchange>& exchange,
                                         const std::string& session) const;
  // What tells that a session was removed: when that is written, or when it is kept again.
  std::shared_ptr<Exchange> when_removed(const std::shared_ptr<Exchange>& exchange,
                                         const std::string& session) const;
  // `from`: it has all its tokens of that one; null: they are its own.
  void record_new(ClientSession& session, const ClientSession* from);
  // It is kept no more. If that can't be written it is kept again, as it stands on disk; then `not_removed`,
  // on the I/O thread.
  void record_end(const ClientSession& session, std::function<void()> not_removed);
  // What a session, which is in a turn, has more than before; and all that has changed. `turn_from`: as far
  // as it had come when the turn began.
  void record_tokens(ClientSession& session);
  void record_turn(ClientSession& session, std::int64_t turn_from);

  // ---- And back
  // The sessions that stand there are kept from now on; before the first request. `slot_bytes`: as
  // SessionFacts has it. Returns the largest of their numbers.
  std::uint64_t take_up(std::int64_t slot_bytes);
  void load(ClientSession& session);  // in its turn. Throws RequestError (404, 500).
  // Of [from, to) what is kept on disk, not on the I/O thread. Throws RequestError (404, 410, 500).
  KeptTokens read(const ClientSession& session, std::int64_t from, std::int64_t to) const;
  // A turn has ended whose session is broken: it is as it is on disk. One that never came there is none.
  void revert(ClientSession& session);

 private:
  struct Stored {
    SessionHead head;
    std::vector<TokenId> sinks;
    std::int64_t begin = 0;  // of `tokens`, the newest
    std::vector<TokenId> tokens;
    std::int64_t end = 0;  // of what stands there, sound or not
    bool is_cut = false;   // what stands behind `tokens`, if anything, is lost
  };
  SessionHead head_of(const StoredSession& stored) const;
  Stored read_stored(const ClientSession& session) const;
  // Of a session with so many tokens on disk.
  ClientSession::Summary summary(const SessionHead& head, std::int64_t tokens) const;
  std::int64_t needed_tokens() const;
  void take_failure(const std::string& id);
  void show_what_stands(const std::string& id);  // of one that is not in memory
  Executor::TimePoint now() const;

  Journal* const journal_;
  const std::string arithmetic_;
  const SessionSettings settings_;
  const SessionShape shape_;
  const std::weak_ptr<Executor> executor_;
  const std::shared_ptr<KeptSessions> kept_;
  const std::shared_ptr<SessionsInEngine> in_engine_;
};

}  // namespace sinkstream
