// Which sessions the engine has. They enter it with their first turn, and leave it when they end, or when
// others need their place there and they can be made anew from their tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "coordinator/api/engine_client.h"
#include "coordinator/api/sessions/client_session.h"
#include "coordinator/api/sessions/kept_sessions.h"
#include "coordinator/http/executor.h"

namespace sinkstream {

// The I/O thread, but where something else is said.
class SessionsInEngine : public std::enable_shared_from_this<SessionsInEngine> {
 public:
  // `on_disk`: what a session consists of need not be in memory when it has left the engine.
  SessionsInEngine(EngineClient& engine, std::weak_ptr<Executor> executor, std::shared_ptr<KeptSessions> kept,
                   bool on_disk)
      : engine_(engine), executor_(std::move(executor)), kept_(std::move(kept)), on_disk_(on_disk) {}

  // Null: it is done.
  using Done = std::function<void(const Refused* refused)>;
  // Gives it the first `length` tokens of a session that it does not have.
  void enter(const std::shared_ptr<ClientSession>& session, std::int64_t length, Done done);
  // A name for a session there, unless it has ended; then kNoSession. Any thread.
  SessionId name(ClientSession& session);
  void leave(ClientSession& session);  // any thread
  // The session's slot is wanted there: it leaves, if it rests and can come back.
  void give_up_slot(SessionId wanted);

  std::size_t num_elsewhere() const;  // those that the engine does not have; any thread

 private:
  bool make_room();
  bool leave_if_idle(ClientSession& session);

  EngineClient& engine_;
  const std::weak_ptr<Executor> executor_;
  const std::shared_ptr<KeptSessions> kept_;
  const bool on_disk_;
  SessionId next_id_ = 1;  // guarded by the lock of `kept_`
};

}  // namespace sinkstream
