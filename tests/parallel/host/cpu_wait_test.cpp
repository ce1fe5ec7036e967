#include "parallel/host/cpu_wait.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "tests/patience.h"

namespace sinkstream {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class CpuWaitTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/proc/self/schedstat"))
      GTEST_SKIP() << "this kernel does not count how long threads wait for a CPU";
    CPU_ZERO(&all_);
    ::sched_getaffinity(0, sizeof all_, &all_);
  }
  void TearDown() override { ::sched_setaffinity(0, sizeof all_, &all_); }

  cpu_set_t all_;
};

TEST_F(CpuWaitTest, TwoThreadsOnOneCpuWaitForOneAnother) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(::sched_getcpu(), &one);
  ::sched_setaffinity(0, sizeof one, &one);
  std::atomic<bool> done{false};
  CpuWait wait;
  wait.restart();
  const auto begin = Clock::now();
  std::thread other([&] {  // on the same CPU
    while (!done) {
    }
  });
  CpuWait::Duration waited{0};
  while (waited < 50ms && Clock::now() - begin < kPatience) waited = wait.longest();
  done = true;
  other.join();
  EXPECT_GE(waited, 50ms);
  EXPECT_LE(waited, Clock::now() - begin) << "no thread waits longer than time passes";
  wait.restart();
  EXPECT_LT(wait.longest(), waited);
}

TEST_F(CpuWaitTest, WhoSleepsDoesNotWait) {
  CpuWait wait;
  const auto begin = Clock::now();  // first, and the end last: all waiting that is counted is between them
  wait.restart();
  std::this_thread::sleep_for(100ms);
  const auto longest = wait.longest();
  EXPECT_LE(longest, Clock::now() - begin - 100ms);
}

}  // namespace
}  // namespace sinkstream
