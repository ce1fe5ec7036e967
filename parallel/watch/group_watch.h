// The rules by which a group is found to be lost. Pure: told what happened and when, it judges.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "parallel/watch/rank_report.h"
#include "parallel/watch/rank_status.h"

namespace sinkstream::watch {

// Time since the watch began, as far as the watchdog itself was awake to see it.
using WatchTime = std::chrono::milliseconds;

// Advances by at most `longest_step` from one look to the next, so time in which the whole machine or this
// process slept is not held against the others.
class WatchClock {
 public:
  WatchClock(std::chrono::steady_clock::time_point start, std::chrono::milliseconds longest_step)
      : last_look_(start), longest_step_(longest_step) {}
  WatchTime look(std::chrono::steady_clock::time_point now);

 private:
  std::chrono::steady_clock::time_point last_look_;
  const std::chrono::milliseconds longest_step_;
  std::chrono::steady_clock::duration elapsed_{0};
};

struct Verdict {
  std::string message;
  std::optional<RankIdentity> silent;  // the rank that would not hear that it has to end
};

class GroupWatch {
 public:
  // `ranks`: those to be watched. One that has not been heard for the first time within `join_limit` is
  // missing.
  GroupWatch(std::vector<RankIdentity> ranks, std::chrono::milliseconds stuck_after,
             std::chrono::milliseconds join_limit);

  void heard(int rank, const RankReport& report, WatchTime now);
  void left(int rank);  // it said goodbye

  Verdict ended_without_goodbye(int rank) const;
  std::optional<Verdict> judge_silence(WatchTime now) const;
  // Silence, and ranks that are stuck or wait for one another.
  std::optional<Verdict> judge(WatchTime now) const;

  // Those that have joined, in rank order. A rank is no longer up when it has been silent for half of
  // `stuck_after`.
  std::vector<RankStatus> status(WatchTime now) const;

 private:
  struct Watched {
    RankIdentity identity;
    RankReport report;
    bool joined = false;
    bool left = false;
    WatchTime heard_at{0};
    WatchTime moved_at{0};  // when its progress last changed
  };

  static WatchTime without_progress(const Watched& rank, WatchTime now);
  std::optional<Verdict> judge_silence_of(const Watched& rank, WatchTime now) const;
  std::optional<Verdict> judge_stuck(const Watched& rank, WatchTime now) const;
  std::optional<Verdict> judge_deadlock(WatchTime now) const;

  std::map<int, Watched> ranks_;
  const std::chrono::milliseconds stuck_after_;
  const std::chrono::milliseconds join_limit_;
};

}  // namespace sinkstream::watch
