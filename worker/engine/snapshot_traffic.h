// What is on its way between slots and snapshots: one session to files, and one from them, each through a
// place of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "engine/commands.h"
#include "engine/events.h"
#include "engine/snapshot.h"

namespace sinkstream {

// A job on every rank, until it is done on all.
struct SnapshotJob {
  std::uint64_t number = 0;
  Snapshot snapshot;
  std::string failure = {};  // on some rank; empty: none that is known
};

struct WaitingSave {
  SaveSession command;
  std::uint64_t number = 0;  // of the session as it is to be saved: another one after it went back
};

struct SnapshotTraffic {
  std::uint64_t jobs = 0;  // that were begun
  struct Out {
    SnapshotJob job;
    SessionChanged answer;
    std::chrono::steady_clock::time_point began;
  };
  struct In {
    SnapshotJob job;
    SessionId session = kNoSession;
    std::chrono::steady_clock::time_point began;
    bool is_there = false;  // on every rank
  };
  std::optional<Out> out;
  std::optional<In> in;
  std::int64_t saved = 0, taken_up = 0, failed = 0;  // since the start
  double save_seconds = 0;                           // of those saved

  bool waits() const { return out || (in && !in->is_there); }
};

}  // namespace sinkstream
