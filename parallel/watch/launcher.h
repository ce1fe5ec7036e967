// Watches the process that started this rank (mpirun or its daemon on this host).
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/file_descriptor.h"
#include "parallel/watch/group_watch.h"

namespace sinkstream::watch {

// Pure: the state letter in the text of /proc/<pid>/stat; 0 where the text is not one. The process's name in
// it may hold spaces and parentheses.
char process_state(std::string_view stat);

class LauncherWatch {
 public:
  // Watches the parent of this process, or nothing.
  LauncherWatch(bool watch, std::chrono::milliseconds stuck_after);

  // Readable once the launcher has ended; -1 where nothing is watched.
  int fd() const { return launcher_.get(); }

  // Costs a system call.
  std::optional<Verdict> judge_end() const;
  // Reads the launcher's state from /proc: for every beat, not for every wake.
  std::optional<Verdict> judge_stop(WatchTime now);

  // A stopped launcher could not end with its ranks.
  void continue_if_stopped() const;

  // Leaves a process behind that kills mpirun, or its daemon, if it still lives after `limit`. They would
  // wait for one another for minutes when the link between them is cut; each host's ranks then end their own.
  void end_within(std::chrono::milliseconds limit) const;

 private:
  std::string name() const;

  const int pid_;                  // 0: nothing to watch
  const FileDescriptor launcher_;  // a pidfd: means this process, whoever gets its number afterwards
  const std::chrono::milliseconds stuck_after_;
  std::optional<WatchTime> stopped_since_;
};

}  // namespace sinkstream::watch
