// Time in which this process could have worked, but the host had no CPU for it.
#pragma once

#include <chrono>
#include <map>

namespace sinkstream {

class CpuWait {
 public:
  using Duration = std::chrono::nanoseconds;

  void restart();  // counts from now on
  // Of the thread that waited the longest. A wait that is not over counts from the last call. Zero where the
  // kernel keeps no such count.
  Duration longest();

 private:
  struct Counts {  // since the thread began
    Duration running{0};
    Duration waiting{0};
    bool operator==(const Counts&) const = default;
  };
  struct Thread {
    Counts counts;
    Duration waited_before{0};  // the restart
    std::chrono::steady_clock::time_point changed;
  };

  template <typename Visit>
  static void for_each_thread(Visit&& visit);

  std::map<int, Thread> threads_;
};

}  // namespace sinkstream
