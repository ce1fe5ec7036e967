#include "parallel/host/backoff.h"

#include <algorithm>
#include <thread>

namespace sinkstream {
namespace {

using std::chrono::microseconds;
using std::chrono::steady_clock;

constexpr int kImmediatePauses = 64;
constexpr microseconds kYieldFor{1000};
constexpr microseconds kShortestSleep{50};
constexpr microseconds kLongSleep{5000};

}  // namespace

void Backoff::pause() {
  ++pauses_;
  if (pauses_ < kImmediatePauses) return;
  if (pauses_ == kImmediatePauses) start_ = steady_clock::now();
  const auto waited = std::chrono::duration_cast<microseconds>(steady_clock::now() - start_);
  if (waited < kYieldFor) {
    std::this_thread::yield();
  } else {
    const microseconds sleep = std::min({waited / 8, kLongSleep + waited / 1000, longest_sleep_});
    std::this_thread::sleep_for(std::max(sleep, kShortestSleep));
  }
}

}  // namespace sinkstream
