// One rank's watchdog: a thread that talks to the leader's watchdog (the leader's: to everyone's), and ends
// the process when the group is lost.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/file_descriptor.h"
#include "parallel/host/cpu_wait.h"
#include "parallel/watch/connection.h"
#include "parallel/watch/group_watch.h"
#include "parallel/watch/launcher.h"

namespace sinkstream::watch {

struct WatchdogSettings {
  int rank = 0;
  std::vector<RankIdentity> ranks;  // of the whole group, in rank order
  Token token{};                    // the group's secret
  bool watch_launcher = false;
  std::chrono::milliseconds stuck_after{};
  std::chrono::milliseconds heartbeat{};
  std::chrono::milliseconds join_limit{};
  std::function<void(const std::string& message)> on_lost;
};

class Watchdog {
 public:
  // The leader's: the others join through `listener` (none for a group of one).
  Watchdog(WatchdogSettings settings, FileDescriptor listener);
  // Another rank's.
  Watchdog(WatchdogSettings settings, Connection to_leader);
  // Ends the watch, with a goodbye to the others unless `leave_without_goodbye` was called.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // All of these: any thread.
  void report(RankState state, const char* what, std::uint64_t step);
  // The leader's: the whole group, as of the last heartbeat. Elsewhere: nothing.
  std::vector<RankStatus> ranks() const;
  void fail(const std::string& message);
  void request_drain();
  void on_drain_requested(std::function<void()> handler);
  void leave_without_goodbye();

 private:
  // What other threads ask of the watchdog's.
  struct Orders {
    bool stop = false;
    bool without_goodbye = false;
    bool drain = false;
    std::optional<std::string> failure;
    std::function<void()> drain_handler;
  };
  struct Stranger {  // connected, but has not proved that it belongs to the group
    Connection connection;
    WatchTime since;
  };

  explicit Watchdog(WatchdogSettings settings);
  void start();
  bool is_leader() const { return settings_.rank == 0; }
  template <typename Change>
  void order(Change&& change);

  // The rest runs on the watchdog's thread.
  void run();
  bool follow_orders();
  void drain(const std::function<void()>& handler);
  void beat();
  [[noreturn]] void lose_launcher(const Verdict& verdict);
  void publish_status();
  RankReport own_report();
  RankReport what_was_reported() const;  // by the main thread
  void wait_for_events(std::chrono::milliseconds limit);
  void accept_strangers();
  void hear_strangers();
  bool hear_stranger(Stranger& stranger);
  void welcome(Stranger& stranger, const Frame& frame);
  void hear_peers();
  bool hear_peer(int rank, Connection& connection);
  void say_goodbye();
  void tell_all(const Frame& frame);
  enum class Told { no, yes };  // by another rank, which has said why on standard error
  Told told_by(int rank) const;
  std::string own_name() const;
  [[noreturn]] void lose(const Verdict& verdict, Told told = Told::no);
  [[noreturn]] void end_at_once(const Verdict& verdict) const;

  const WatchdogSettings settings_;
  std::thread thread_;
  FileDescriptor wake_;

  mutable std::mutex mutex_;  // guards the orders, the report and what was heard of the ranks
  Orders orders_;
  RankState state_ = RankState::idle;
  const char* what_ = "";
  std::uint64_t step_ = 0;
  std::uint64_t progress_ = 0;
  std::uint64_t collectives_ = 0;
  std::chrono::steady_clock::duration in_collectives_{0};
  std::chrono::steady_clock::time_point waits_since_;
  std::vector<RankStatus> status_;

  CpuWait cpu_wait_;                 // since the progress that was
  std::uint64_t seen_progress_ = 0;  // last seen at a beat
  GroupWatch group_;
  LauncherWatch launcher_;
  WatchClock clock_;
  WatchTime now_{0};
  WatchTime next_beat_{0};
  std::map<int, Connection> peers_;
  FileDescriptor listener_;  // open until all have joined
  bool accepting_ = true;
  std::vector<Stranger> strangers_;
};

}  // namespace sinkstream::watch
