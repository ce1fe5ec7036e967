// How tests deal with time on machines that may be busy.
#pragma once

#include <chrono>
#include <ctime>
#include <thread>

namespace sinkstream {

// For what must come: so long that only something broken misses it. It costs nothing when it comes.
inline constexpr std::chrono::seconds kPatience{120};

template <typename Condition>
bool eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

// Of this process, all its threads together: unlike a clock it does not count what others do meanwhile.
inline double processor_seconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

}  // namespace sinkstream
