// The coordinator's end of the engine: numbers requests, and brings each event to whoever waits for it.
#pragma once

#include <functional>
#include <memory>

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
  // Refused, or the TurnEnded of its last choice. Then it is let go.
  RequestId generate(Generate command, Handler handler);
  // About a request: Grant, EndTurn, Cancel.
  void send(Command command) { engine_.send(std::move(command)); }

  // When the I/O thread has ended: cancels what still runs and lets its handlers go. Events are dropped from
  // then on.
  void close();

 private:
  class Inbox;

  Engine& engine_;
  const std::shared_ptr<Inbox> inbox_;
  RequestId next_request_ = 1;
};

}  // namespace sinkstream
