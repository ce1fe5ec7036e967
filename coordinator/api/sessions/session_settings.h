// How many sessions clients may keep, for how long, and how much of their text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace sinkstream {

struct SessionSettings {
  std::optional<std::int64_t> max_sessions;          // none: all that can be parked
  std::optional<std::int64_t> max_sessions_per_key;  // of one API key; none: no less than of all
  double ttl_seconds = 86400;                 // unused for so long, a session ends; a client may ask for less
  std::int64_t transcript_tokens = 262144;    // newest tokens of each session that can be read back
  double replay_seconds = 600;                // how long an answer is kept for retries of its request
  std::int64_t replay_bytes = 67108864;       // of all those answers
  double retry_seconds = 30;                  // a turn whose client left waits so long for a retry
  std::filesystem::path directory;            // where sessions are kept; empty: in memory only
  std::int64_t snapshot_tokens = 1024;        // of a session there, fewer than these are taken in anew
  double snapshot_seconds = 1;                // nor longer than this; 0: however long it takes
  std::int64_t snapshot_bytes = 34359738368;  // of all snapshots that a rank keeps
  double sync_seconds = 1;  // what is written there reaches the disk within so long; 0: before it is told
};

}  // namespace sinkstream
