#include "parallel/watch/launcher.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "base/durations.h"

namespace sinkstream::watch {
namespace {

bool is_stopped(int pid) {
  std::string stat;
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::getline(file, stat);
  return process_state(stat) == 'T';
}

// Whether a process is OpenMPI's mpirun or its daemon, which exist for this group alone. Others who start
// ranks, such as Slurm's slurmstepd, know how to end, and may have more to do.
bool is_launcher_of_openmpi(int pid) {
  std::error_code unreadable;
  const auto program = std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe", unreadable);
  constexpr std::array<std::string_view, 6> kPrograms{"mpirun",  "orterun", "orted",
                                                      "prterun", "prte",    "prted"};
  return std::ranges::find(kPrograms, program.filename().string()) != kPrograms.end();
}

FileDescriptor open_process(int pid) {
  return FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

// Null where OpenMPI's environment names no directory that is the job's own.
const char* session_directory() {
  const char* path = std::getenv("PMIX_SERVER_TMPDIR");
  const std::string_view text = path ? path : "";
  const bool own = text.find("/ompi.") != text.npos || text.find("/prte.") != text.npos;
  return own ? path : nullptr;
}

// What the process that is left behind does. Between fork and exec only system calls: other threads may hold
// locks.
[[noreturn]] void tidy_up(int launcher, const char* directory, std::chrono::milliseconds limit) {
  ::setsid();  // nobody who ends this rank's process group ends this
  // The launcher waits for the end of the rank's output, so nothing else stays open.
  if (launcher > 0) ::syscall(SYS_close_range, 0, launcher - 1, 0);
  ::syscall(SYS_close_range, launcher + 1, ~0U, 0);
  pollfd ended{launcher, POLLIN, 0};
  if (::poll(&ended, 1, static_cast<int>(limit.count())) == 0) {
    ::syscall(SYS_pidfd_send_signal, launcher, SIGKILL, nullptr, 0);
  }
  if (directory) ::execl("/bin/rm", "rm", "-rf", "--", directory, nullptr);
  ::_exit(0);
}

}  // namespace

char process_state(std::string_view stat) {
  const std::size_t end_of_name = stat.rfind(") ");
  return end_of_name == std::string_view::npos || end_of_name + 2 >= stat.size() ? '\0'
                                                                                 : stat[end_of_name + 2];
}

LauncherWatch::LauncherWatch(bool watch, std::chrono::milliseconds stuck_after)
    : pid_(watch ? ::getppid() : 0),
      launcher_(pid_ ? open_process(pid_) : FileDescriptor()),
      stuck_after_(stuck_after) {}

std::string LauncherWatch::name() const {
  return "the launcher (pid " + std::to_string(pid_) + ")";
}

std::optional<Verdict> LauncherWatch::judge_end() const {
  if (pid_ == 0 || ::getppid() == pid_) return std::nullopt;
  return Verdict{name() + " ended", std::nullopt};
}

std::optional<Verdict> LauncherWatch::judge_stop(WatchTime now) {
  if (pid_ == 0 || !is_stopped(pid_)) {
    stopped_since_.reset();
    return std::nullopt;
  }
  if (!stopped_since_) stopped_since_ = now;
  if (now - *stopped_since_ < stuck_after_) return std::nullopt;
  return Verdict{name() + " has been stopped for " + in_seconds(stuck_after_), std::nullopt};
}

void LauncherWatch::continue_if_stopped() const {
  if (pid_ != 0 && ::getppid() == pid_ && is_stopped(pid_)) ::kill(pid_, SIGCONT);
}

void LauncherWatch::end_within(std::chrono::milliseconds limit) const {
  const char* const directory = session_directory();
  if (launcher_ && is_launcher_of_openmpi(pid_) && ::fork() == 0) tidy_up(launcher_.get(), directory, limit);
}

}  // namespace sinkstream::watch
