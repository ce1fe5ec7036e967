// What communicators share. Internal.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <string>

#include "parallel/communicator/communicator.h"

namespace sinkstream {

enum class Operation : int { all_reduce_sum, all_gather, broadcast, barrier };
inline constexpr std::array kOperationNames{"all_reduce_sum", "all_gather", "broadcast", "barrier"};

inline std::string name_of(Operation operation) {
  return kOperationNames.at(static_cast<std::size_t>(operation));
}

// Waiting in the middle of a step is short, and what is large needs both sides' attention; waiting for the
// next step may last for hours.
inline constexpr std::chrono::microseconds kLongestSleepInStep{200};
inline constexpr std::chrono::microseconds kLongestSleepBetweenSteps{20000};

// Starts with the next rank, so that the ranks do not all turn to the same one first.
template <typename Action>
void for_each_other_rank(const Communicator& group, const Action& action) {
  for (int step = 1; step < group.size(); ++step) action((group.rank() + step) % group.size());
}

// That a rank's part in the group is over, and why. Any thread.
class GroupEnd {
 public:
  void end(const std::string& reason) {
    const std::lock_guard lock(mutex_);
    if (has_ended()) return;
    reason_ = reason;
    ended_.store(true, std::memory_order_release);
  }
  bool has_ended() const { return ended_.load(std::memory_order_acquire); }
  void throw_if_ended() {  // GroupEnded
    if (!has_ended()) return;
    const std::lock_guard lock(mutex_);
    throw GroupEnded(reason_);
  }

 private:
  std::mutex mutex_;
  std::string reason_;
  std::atomic<bool> ended_{false};
};

}  // namespace sinkstream
