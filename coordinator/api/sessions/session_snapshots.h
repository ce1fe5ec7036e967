// Which sessions' states the engine is to keep in files, so that they need not be made anew.
#pragma once

#include <memory>

#include "coordinator/api/engine_client.h"
#include "coordinator/api/sessions/client_session.h"
#include "coordinator/api/sessions/kept_sessions.h"
#include "coordinator/api/sessions/session_settings.h"
#include "coordinator/http/executor.h"

namespace sinkstream {

// Whether to save a session of which so many tokens would be taken in anew: they are too many, or take too
// long; not for the latter alone as long as saving takes more than a fiftieth of the time that it spares.
bool is_snapshot_due(std::int64_t tokens, const SessionSettings& settings, const EngineStats& stats);

class SessionSnapshots {
 public:
  // `on_disk`: sessions outlive the server; else nothing is kept.
  SessionSnapshots(EngineClient& engine, std::weak_ptr<Executor> executor, const SessionSettings& settings,
                   bool on_disk);

  // At the end of its turn, before that is recorded: has the engine keep its state, if making it anew would
  // cost more than it may. The I/O thread.
  void save_if_due(const std::shared_ptr<ClientSession>& session) const;
  // So many tokens of it were taken in anew in a turn: if they are many, there is no snapshot of it.
  void note_replay(ClientSession& session, std::int64_t replayed_tokens) const;
  void drop(const ClientSession& session) const;  // it has ended; any thread
  // Those of sessions that ended while nobody was there to drop them go.
  void keep_only(const KeptSessions& kept) const;

 private:
  static void note_failure(ClientSession& session);

  EngineClient& engine_;
  const std::weak_ptr<Executor> executor_;
  const SessionSettings settings_;
  const bool keeps_any_;
};

}  // namespace sinkstream
