#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "parallel/host/backoff.h"
#include "parallel/host/deadline.h"
#include "parallel/host/host_name_claim.h"
#include "parallel/host/roll_call.h"

namespace sinkstream {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How often this thread has slept.
long sleeps() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

TEST(Backoff, ShortWaitsNeverSleep) {
  Backoff backoff(milliseconds(5));
  const long before = sleeps();
  for (int i = 0; i < 50; ++i) backoff.pause();
  EXPECT_EQ(sleeps(), before);
}

steady_clock::duration time_of_pause(Backoff& backoff) {
  const auto start = steady_clock::now();
  backoff.pause();
  return steady_clock::now() - start;
}

// The shortest of twenty pauses after a tenth of a second, since a busy machine only makes them longer.
steady_clock::duration shortest_pause(microseconds longest_sleep) {
  Backoff backoff(longest_sleep);
  const auto start = steady_clock::now();
  while (steady_clock::now() - start < milliseconds(100)) backoff.pause();
  auto shortest = time_of_pause(backoff);
  for (int i = 1; i < 20; ++i) shortest = std::min(shortest, time_of_pause(backoff));
  return shortest;
}

TEST(Backoff, LongWaitsLookRarely) {
  EXPECT_GE(shortest_pause(milliseconds(50)), milliseconds(5));
}

TEST(Backoff, NeverSleepsLongerThanAllowed) {
  EXPECT_GE(shortest_pause(milliseconds(5)), milliseconds(5));
  EXPECT_LT(shortest_pause(microseconds(200)), milliseconds(5)) << "one of twenty";
}

TEST(Deadline, DoesNothingWhenMet) {
  const Deadline deadline(milliseconds(60000), [] { return "too late"; });
}

TEST(DeadlineDeathTest, EndsTheProcessWithTheMessage) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const Deadline deadline(milliseconds(10), [] { return "too late"; });
        std::this_thread::sleep_for(milliseconds(600000));
      },
      testing::ExitedWithCode(5), "sinkstream: too late\n");
}

TEST(HostNameClaim, IsHeldByOneAtATime) {
  const std::string name = "sinkstream-test-" + std::to_string(::getpid());
  EXPECT_FALSE(is_name_claimed(name));
  FileDescriptor claim = claim_name(name);
  EXPECT_TRUE(claim);
  EXPECT_TRUE(is_name_claimed(name));
  EXPECT_FALSE(claim_name(name));
  EXPECT_TRUE(claim_name(name + "x"));
  claim.reset();
  EXPECT_FALSE(is_name_claimed(name));
  EXPECT_TRUE(claim_name(name));
}

LaunchedAs launched(int local_rank, int local_size, int size) {
  return {.job = "test-" + std::to_string(::getpid()),
          .rank = local_rank,
          .size = size,
          .local_rank = local_rank,
          .local_size = local_size};
}

TEST(RollCall, NamesTheMissingOnce) {
  const RollCall first(launched(0, 4, 4));
  const RollCall third(launched(2, 4, 4));
  EXPECT_EQ(first.complaint("60 s"), "rank 0 waited 60 s for all 4 ranks to start; missing: rank 1, 3");
  EXPECT_EQ(third.complaint("60 s"), "");
}

TEST(RollCall, KnowsOnlyItsOwnHost) {
  const RollCall first(launched(0, 2, 4));
  EXPECT_EQ(first.complaint("60 s"),
            "rank 0 waited 60 s for all 4 ranks to start; missing on this host: local rank 1");
  const RollCall second(launched(1, 2, 4));
  EXPECT_EQ(first.complaint("60 s"),
            "rank 0 waited 60 s for all 4 ranks to start; those of this host have begun to start, so see the "
            "other hosts");
}

TEST(RollCall, SaysWhenAllHaveBegun) {
  const RollCall first(launched(0, 2, 2));
  const RollCall second(launched(1, 2, 2));
  EXPECT_EQ(first.complaint("60 s"),
            "rank 0 waited 60 s for all 2 ranks to start; all have begun to start, so one is stopped or very "
            "slow");
}

}  // namespace
}  // namespace sinkstream
