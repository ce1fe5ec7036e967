// A session that a client keeps: whose it is, what it consists of, and whether it is in a turn.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "coordinator/api/sessions/session_contents.h"
#include "engine/commands.h"
#include "engine/session_usage.h"

namespace sinkstream {

struct SessionFacts {  // never change
  std::string id;
  std::string owner;         // API key; empty where no keys are asked for
  std::uint64_t number = 0;  // in the order of their making
  CacheWindow window;
  std::int64_t prefix_tokens = 0;  // that it began with, pinned
  std::int64_t slot_bytes = 0;     // when it has one
  double ttl_seconds = 0;
  nlohmann::ordered_json metadata = nlohmann::ordered_json::object();
  std::int64_t created_at = 0;  // Unix time
};

// Any thread. Its contents are changed by whoever holds its turn (SessionTurn) alone.
class ClientSession {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  ClientSession(SessionFacts facts, SessionContents contents, TimePoint now);

  const SessionFacts& facts() const { return facts_; }

  struct View {
    SessionUsage usage;  // what was not taken in yet is seen and, in a prefix, pinned; it is nowhere resident
    std::int64_t bytes = 0;
    bool running = false;
    std::int64_t last_used_at = 0;
  };
  View view() const;
  std::pair<std::int64_t, std::int64_t> kept() const;  // the transcript's first and last position
  std::vector<TokenId> read(std::int64_t from, std::int64_t to) const;

  bool begin_turn();  // false: it is in one
  void end_turn(TimePoint now);

  // What the engine calls it; kNoSession: it does not have it, and makes it anew from its tokens when they
  // are needed there.
  SessionId engine_id() const { return engine_id_; }
  void enter_engine(SessionId id) { engine_id_ = id; }
  // Whoever gets its id closes it there.
  SessionId leave_engine() { return engine_id_.exchange(kNoSession); }
  // The same of one that is in no turn and can be made anew; else kNoSession.
  SessionId leave_engine_if_idle(const SessionShape& shape);
  TimePoint last_used() const;
  // When it will have been unused for its ttl_seconds, if it is not used any more.
  TimePoint expires(TimePoint now) const;

  // In a turn, as the next: nobody else changes it meanwhile.
  const SessionContents& contents() const { return contents_; }
  // `change` must be short.
  template <typename Change>
  void update(const Change& change) {
    const std::lock_guard lock(mutex_);
    change(contents_);
  }

 private:
  const SessionFacts facts_;
  mutable std::mutex mutex_;
  std::atomic<SessionId> engine_id_ = kNoSession;
  // All guarded by mutex_, but for reading by whoever holds the turn.
  SessionContents contents_;
  bool running_ = true;  // until the engine has it
  TimePoint last_used_;
  std::int64_t last_used_at_;
};

}  // namespace sinkstream
