// The coordinator's end of the engine: numbers requests, and brings each event to whoever waits for it.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "coordinator/http/executor.h"
#include "engine/engine.h"

namespace sinkstream {

class EngineClient {
 public:
  using Handler = std::function<void(Event event)>;

  // The engine outlives it, and sends it events from now on.
  EngineClient(Engine& engine, std::shared_ptr<Executor> executor);
  ~EngineClient();  // closes

  // Any thread.
  const EngineLimits& limits() const { return engine_.limits(); }
  EngineStats stats() const { return engine_.stats(); }

  // ---- The I/O thread.
  // The handler gets all events about the request, on the I/O thread, up to the last one that is to come:
  // Refused, the TurnEnded of its last choice, or SessionChanged. Then it is let go.
  RequestId generate(Generate command, Handler handler);
  // A command about a session, which has one answer.
  template <typename C>
  void ask(C command, Handler handler) {
    command.request = expect(0, std::move(handler));
    engine_.send(std::move(command));
  }
  // About a request: Grant, EndTurn, Cancel.
  void send(Command command) { engine_.send(std::move(command)); }

  // Whom to tell of SlotWanted.
  void on_slot_wanted(std::function<void(SessionId session)> listener);

  // When the I/O thread has ended: cancels what still runs and lets its handlers go. Events are dropped from
  // then on.
  void close();

 private:
  class Inbox;
  RequestId expect(std::int32_t turns, Handler handler);

  Engine& engine_;
  const std::shared_ptr<Inbox> inbox_;
  RequestId next_request_ = 1;
};

}  // namespace sinkstream
