#include "parallel/watch/group_watch.h"

#include <algorithm>

#include "base/durations.h"

namespace sinkstream::watch {
namespace {

// "in attention, step 12"
std::string activity_of(const RankReport& report) {
  if (report.state == RankState::idle) return "idle";
  return "in " + report.what + ", step " + std::to_string(report.step);
}

}  // namespace

WatchTime WatchClock::look(std::chrono::steady_clock::time_point now) {
  elapsed_ += std::min<std::chrono::steady_clock::duration>(now - last_look_, longest_step_);
  last_look_ = now;
  return std::chrono::duration_cast<WatchTime>(elapsed_);
}

GroupWatch::GroupWatch(std::vector<RankIdentity> ranks, std::chrono::milliseconds stuck_after,
                       std::chrono::milliseconds join_limit)
    : stuck_after_(stuck_after), join_limit_(join_limit) {
  for (RankIdentity& identity : ranks) {
    const int rank = identity.rank;
    ranks_[rank].identity = std::move(identity);
  }
}

void GroupWatch::heard(int rank, const RankReport& report, WatchTime now) {
  Watched& watched = ranks_.at(rank);
  if (!watched.joined || watched.report.progress != report.progress) watched.moved_at = now;
  watched.joined = true;
  watched.heard_at = now;
  watched.report = report;
}

void GroupWatch::left(int rank) {
  ranks_.at(rank).left = true;
}

Verdict GroupWatch::ended_without_goodbye(int rank) const {
  const Watched& watched = ranks_.at(rank);
  return {name_of(watched.identity) + " died (last seen " + activity_of(watched.report) + ")", std::nullopt};
}

std::optional<Verdict> GroupWatch::judge_silence(WatchTime now) const {
  for (const auto& [rank, watched] : ranks_) {
    if (watched.left) continue;
    if (auto verdict = judge_silence_of(watched, now)) return verdict;
  }
  return std::nullopt;
}

std::optional<Verdict> GroupWatch::judge(WatchTime now) const {
  if (auto verdict = judge_silence(now)) return verdict;
  for (const auto& [rank, watched] : ranks_) {
    if (watched.left) continue;
    if (auto verdict = judge_stuck(watched, now)) return verdict;
  }
  return judge_deadlock(now);
}

std::vector<RankStatus> GroupWatch::status(WatchTime now) const {
  constexpr double kMicrosecondsPerSecond = 1e6;
  std::vector<RankStatus> all;
  for (const auto& [rank, watched] : ranks_) {
    if (!watched.joined) continue;
    const bool idle = watched.report.state == RankState::idle;
    const std::chrono::duration<double> lag = idle ? WatchTime{0} : now - watched.moved_at;
    all.push_back({.rank = rank,
                   .host = watched.identity.host,
                   .up = !watched.left && now - watched.heard_at < stuck_after_ / 2,
                   .step_lag_seconds = lag.count(),
                   .collectives = watched.report.collectives,
                   .collective_seconds =
                       static_cast<double>(watched.report.collective_microseconds) / kMicrosecondsPerSecond});
  }
  return all;
}

// Time in which its host had no CPU for it is not held against a rank.
WatchTime GroupWatch::without_progress(const Watched& rank, WatchTime now) {
  const WatchTime since = now - rank.moved_at;
  const auto starved =
      std::min<std::uint64_t>(rank.report.starved_milliseconds, static_cast<std::uint64_t>(since.count()));
  return since - WatchTime(starved);
}

std::optional<Verdict> GroupWatch::judge_silence_of(const Watched& rank, WatchTime now) const {
  if (!rank.joined && now >= join_limit_) {
    return Verdict{name_of(rank.identity) + " did not join the watch within " + in_seconds(join_limit_),
                   rank.identity};
  }
  if (!rank.joined || now - rank.heard_at < stuck_after_) return std::nullopt;
  return Verdict{name_of(rank.identity) + " is stopped or unreachable: silent for " +
                     in_seconds(stuck_after_) + " (last seen " + activity_of(rank.report) + ")",
                 rank.identity};
}

std::optional<Verdict> GroupWatch::judge_stuck(const Watched& rank, WatchTime now) const {
  if (rank.report.state != RankState::working || without_progress(rank, now) < stuck_after_)
    return std::nullopt;
  return Verdict{name_of(rank.identity) + " is stuck " + activity_of(rank.report) + ": no progress for " +
                     in_seconds(stuck_after_),
                 std::nullopt};
}

std::optional<Verdict> GroupWatch::judge_deadlock(WatchTime now) const {
  std::string waits;
  for (const auto& [rank, watched] : ranks_) {
    const bool waits_in_vain = watched.joined && watched.report.state == RankState::waiting &&
                               without_progress(watched, now) >= stuck_after_;
    if (!watched.left && !waits_in_vain) return std::nullopt;
    waits += (waits.empty() ? "rank " : ", rank ") + std::to_string(rank) + " " +
             (watched.left ? "has left" : activity_of(watched.report));
  }
  if (std::ranges::all_of(ranks_, [](const auto& entry) { return entry.second.left; })) return std::nullopt;
  return Verdict{"all ranks wait for one another, for " + in_seconds(stuck_after_) + " already: " + waits,
                 std::nullopt};
}

}  // namespace sinkstream::watch
