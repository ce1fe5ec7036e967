#include "parallel/host/cpu_wait.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace sinkstream {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Whether it has a CPU or waits for one: "17 (a name) R 1 …".
bool is_runnable(const fs::path& thread) {
  std::ifstream file(thread / "stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t name_end = text.rfind(") ");
  return name_end != std::string::npos && text.substr(name_end + 2, 1) == "R";
}

}  // namespace

template <typename Visit>
void CpuWait::for_each_thread(Visit&& visit) {
  std::error_code error;
  for (fs::directory_iterator thread("/proc/self/task", error), end; !error && thread != end;
       thread.increment(error)) {
    std::int64_t running = 0, waiting = 0;  // nanoseconds
    if (std::ifstream(thread->path() / "schedstat") >> running >> waiting)
      visit(thread->path(), Counts{Duration(running), Duration(waiting)});
  }
}

void CpuWait::restart() {
  threads_.clear();
  for_each_thread([&](const fs::path& path, const Counts& counts) {
    threads_[std::stoi(path.filename())] = {counts, counts.waiting, Clock::now()};
  });
}

CpuWait::Duration CpuWait::longest() {
  Duration longest{0};
  for_each_thread([&](const fs::path& path, const Counts& counts) {
    const Clock::time_point now = Clock::now();
    Thread& thread = threads_.try_emplace(std::stoi(path.filename()), Thread{counts, {}, now}).first->second;
    if (thread.counts != counts) {
      thread.counts = counts;
      thread.changed = now;
    }
    const bool waits_still = thread.changed != now && is_runnable(path);
    longest = std::max(
        longest, counts.waiting - thread.waited_before + (waits_still ? now - thread.changed : Duration(0)));
  });
  return longest;
}

}  // namespace sinkstream
