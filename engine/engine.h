// The contract between coordinator and engine, which speak in messages. The coordinator knows texts, shapes
// of APIs and clients; the engine knows tokens, sessions and steps.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/session_shape.h"
#include "base/token_id.h"
#include "engine/commands.h"
#include "engine/engine_stats.h"
#include "engine/events.h"

namespace sinkstream {

// What commands are checked against; constant after start.
struct EngineLimits {
  std::int64_t vocab_size = 0;
  SessionShape session;
  std::optional<TokenId> sink_token;  // a sink that the model was trained with: it begins every session
  std::vector<TokenId> end_tokens;
  std::int32_t max_queue = 0;
  std::int32_t num_slots = 0;
  std::int32_t num_places = 0;  // for sessions that are parked
  bool has_snapshots = false;   // ranks keep snapshots of sessions in files
  double stuck_seconds = 10;    // a step that takes longer ends the group
};

// Receives events on any thread, in order of each request. Must not block, nor send commands from within.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void on_event(Event event) = 0;
};

// All methods: any thread.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual const EngineLimits& limits() const = 0;
  // Where events go from now on, also those of commands from before.
  virtual void connect(std::shared_ptr<EventSink> sink) = 0;
  // Never waits. Commands take effect in the order in which they are sent; those about what has ended, or
  // never was, are ignored where they have no answer.
  virtual void send(Command command) = 0;
  virtual EngineStats stats() const = 0;
};

}  // namespace sinkstream
