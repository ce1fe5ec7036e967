// How the engine and its ranks are doing, for /metrics and /health.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/duration_histogram.h"
#include "parallel/watch/rank_status.h"

namespace sinkstream {

struct EngineStats {
  std::int64_t running = 0;  // sessions in slots that are in a turn
  std::int64_t waiting = 0;  // in the queue
  std::int64_t used_slots = 0;
  // Sessions that outlive their turns: in slots; in parking places, and the memory of these on all ranks.
  std::int64_t resident_sessions = 0;
  std::int64_t parked_sessions = 0;
  std::int64_t parked_bytes = 0;
  std::int64_t parks = 0, restores = 0;  // since the start
  // Since the start: sessions that were saved on every rank's disk, that were taken up from there, and those
  // of which neither succeeded on some rank.
  std::int64_t snapshots_saved = 0, snapshots_taken_up = 0, snapshots_failed = 0;
  double snapshot_save_seconds = 0;  // of those that were saved: from the copy to the files of all ranks
  std::int64_t snapshot_bytes = 0;   // of the leader's own files; each rank has as many, of its heads
  std::int64_t prompt_tokens = 0;    // taken in
  std::int64_t replayed_tokens = 0;  // of them, those that a session had seen before
  std::optional<double> seconds_per_prompt_token;  // of prompts read by themselves; no value: none was
  std::int64_t generated_tokens = 0;
  std::int64_t evicted_tokens = 0;
  std::int64_t resident_tokens = 0;  // in all slots now
  double seconds_since_step = 0;     // how long the present step has taken so far; 0: there is none
  std::vector<RankStatus> ranks;
  DurationHistogram steps;
  DurationHistogram queueing;  // of sessions, from submit to a slot
  DurationHistogram prefill;   // from there to the whole prompt taken in
  DurationHistogram decode;    // from the first token to the end
};

}  // namespace sinkstream
