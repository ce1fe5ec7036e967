#include "parallel/watch/launcher.h"

#include <signal.h>
#include <unistd.h>

#include <fstream>

#include "parallel/in_seconds.h"

namespace sinkstream::watch {
namespace {

bool is_stopped(int pid) {
  std::string stat;
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::getline(file, stat);
  return process_state(stat) == 'T';
}

}  // namespace

char process_state(std::string_view stat) {
  const std::size_t end_of_name = stat.rfind(") ");
  return end_of_name == std::string_view::npos || end_of_name + 2 >= stat.size() ? '\0'
                                                                                 : stat[end_of_name + 2];
}

LauncherWatch::LauncherWatch(bool watch, std::chrono::milliseconds stuck_after)
    : pid_(watch ? ::getppid() : 0), stuck_after_(stuck_after) {}

std::optional<Verdict> LauncherWatch::judge(WatchTime now) {
  if (pid_ == 0) return std::nullopt;
  const std::string name = "the launcher (pid " + std::to_string(pid_) + ")";
  if (::getppid() != pid_) return Verdict{name + " ended", std::nullopt};
  if (!is_stopped(pid_)) {
    stopped_since_.reset();
    return std::nullopt;
  }
  if (!stopped_since_) stopped_since_ = now;
  if (now - *stopped_since_ < stuck_after_) return std::nullopt;
  return Verdict{name + " has been stopped for " + in_seconds(stuck_after_), std::nullopt};
}

void LauncherWatch::continue_if_stopped() const {
  if (pid_ != 0 && ::getppid() == pid_ && is_stopped(pid_)) ::kill(pid_, SIGCONT);
}

}  // namespace sinkstream::watch
