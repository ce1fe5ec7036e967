// A session that a client keeps: whose it is, what it consists of, and whether it is in a turn.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "coordinator/api/sessions/session_contents.h"
#include "engine/commands.h"
#include "engine/session_usage.h"

namespace sinkstream {

struct SessionFacts {  // never change
  std::string id;
  std::string owner;         // SessionRegistry::owner_of; empty where no keys are asked for
  std::uint64_t number = 0;  // in the order of their making
  CacheWindow window;
  std::int64_t prefix_tokens = 0;  // that it began with, pinned
  std::int64_t slot_bytes = 0;     // when it has one
  double ttl_seconds = 0;
  nlohmann::ordered_json metadata = nlohmann::ordered_json::object();
  std::int64_t created_at = 0;  // Unix time
  // Why what stands of it on disk can't be read; then no more is known than its id. Empty: it can.
  std::string damage;
};

struct KeptTokens {
  std::int64_t begin = 0;  // the first that are kept
  std::vector<TokenId> tokens;
};

// Any thread. Its contents are changed by whoever holds its turn (SessionTurn) alone.
class ClientSession {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  ClientSession(SessionFacts facts, SessionContents contents, TimePoint now);

  const SessionFacts& facts() const { return facts_; }

  // What is known of it without its contents.
  struct Summary {
    std::int64_t tokens = 0;
    std::int64_t unsent = 0;      // the newest of them, which the engine was not given yet
    std::int64_t pending = 0;     // likewise, which it takes in with the next turn if it has the session
    bool same_arithmetic = true;  // as SessionContents has it, as the next
    std::optional<std::int64_t> cut_at = std::nullopt;
  };
  // One that stands on disk; last used at `last_used_at`, Unix time.
  ClientSession(SessionFacts facts, const Summary& summary, std::int64_t last_used_at, TimePoint last_used);
  // It anew, in no turn, and as if all of it stood on disk.
  std::shared_ptr<ClientSession> as_on_disk() const;

  struct View {
    SessionUsage usage;  // what was not taken in yet is seen and, in a prefix, pinned; it is nowhere resident
    std::int64_t bytes = 0;
    bool running = false;
    std::int64_t last_used_at = 0;
    bool same_arithmetic = true;
    std::optional<std::int64_t> cut_at;
  };
  View view() const;
  KeptTokens read(std::int64_t from, std::int64_t to) const;  // of its transcript in memory

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

  // ---- Where sessions are kept on disk, what it consists of may stand there alone.
  bool in_memory() const;
  std::int64_t tokens() const;
  void put_in_memory(SessionContents contents);  // in a turn
  void leave_memory();                           // in a turn
  void set_on_disk(const Summary& summary);      // of one that has left it
  bool leave_memory_if_idle();
  // What came of the snapshot that was asked for last, for whoever has its next turn.
  enum class SaveFailure : std::uint8_t { none, refused, failed };
  void note_save_failure(SaveFailure failure) { save_failure_ = failure; }
  SaveFailure take_save_failure() { return save_failure_.exchange(SaveFailure::none); }
  // Its newest change could not be written, nor what comes now: when its turn ends it is as it is on disk.
  void set_broken(bool broken) { broken_ = broken; }
  bool is_broken() const { return broken_; }
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
  std::atomic<bool> broken_ = false;
  std::atomic<SaveFailure> save_failure_ = SaveFailure::none;
  // All guarded by mutex_, but for reading by whoever holds the turn.
  SessionContents contents_;
  std::optional<Summary> on_disk_;  // instead of contents
  bool running_ = true;             // until it is made
  Summary summary() const;
  void drop_contents();

  TimePoint last_used_;
  std::int64_t last_used_at_;
};

}  // namespace sinkstream
