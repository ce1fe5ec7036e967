#include "parallel/watch/group_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sinkstream::watch {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr milliseconds kStuckAfter{10000};
constexpr milliseconds kJoinLimit{15000};

RankReport idle(std::uint64_t progress = 0) {
  return {.state = RankState::idle, .progress = progress};
}
RankReport working(std::uint64_t progress) {
  return {.state = RankState::working, .step = 7, .progress = progress, .what = "attention"};
}
RankReport waiting(std::uint64_t progress) {
  return {.state = RankState::waiting, .step = 7, .progress = progress, .what = "a sum"};
}

class GroupWatchTest : public testing::Test {
 protected:
  GroupWatchTest()
      : watch_({{0, 100, "north", true}, {1, 101, "north", true}, {2, 202, "south", false}}, kStuckAfter,
               kJoinLimit) {}

  // All ranks report the same, at `seconds`.
  void all_report(const RankReport& report, int seconds) {
    for (int r = 0; r < 3; ++r) watch_.heard(r, report, std::chrono::seconds(seconds));
  }

  std::string verdict_at(milliseconds now) const {
    const auto verdict = watch_.judge(now);
    return verdict ? verdict->message : "";
  }

  GroupWatch watch_;
};

TEST_F(GroupWatchTest, RanksThatReportAndMoveAreWell) {
  for (int s = 0; s < 100; s += 5) {
    all_report(working(static_cast<std::uint64_t>(s)), s);
    EXPECT_EQ(verdict_at(milliseconds(s * 1000 + 4999)), "");
  }
}

TEST_F(GroupWatchTest, StatusSaysWhoIsUpAndHowLongItHasNotMoved) {
  RankReport report = waiting(1);
  report.collectives = 5;
  report.collective_microseconds = 2500000;
  watch_.heard(0, working(1), std::chrono::seconds(1));
  watch_.heard(1, report, std::chrono::seconds(1));
  watch_.heard(1, report, std::chrono::seconds(3));  // again, without having moved
  EXPECT_EQ(watch_.status(milliseconds(6000)),
            (std::vector<RankStatus>{{0, "north", false, 5, 0, 0},  // silent for half of what counts as stuck
                                     {1, "north", true, 5, 5, 2.5}}))
      << "rank 2 has not joined";
  watch_.heard(0, idle(2), std::chrono::seconds(7));
  watch_.left(1);
  EXPECT_EQ(watch_.status(milliseconds(7500))[0], (RankStatus{0, "north", true, 0, 0, 0}));
  EXPECT_FALSE(watch_.status(milliseconds(7500))[1].up);
}

TEST_F(GroupWatchTest, IdleRanksMayIdleForEver) {
  for (int s = 0; s < 100000; s += 9) all_report(idle(), s);
  EXPECT_EQ(verdict_at(milliseconds(100000000 - 1000)), "");
}

TEST_F(GroupWatchTest, ARankThatNeverJoinedIsMissing) {
  watch_.heard(0, idle(), milliseconds(14000));
  watch_.heard(2, idle(), milliseconds(14000));
  EXPECT_EQ(verdict_at(milliseconds(14999)), "");
  EXPECT_EQ(verdict_at(milliseconds(15000)), "rank 1 (pid 101 on north) did not join the watch within 15 s");
}

TEST_F(GroupWatchTest, ASilentRankIsStoppedOrUnreachable) {
  all_report(working(1), 0);
  watch_.heard(0, working(2), milliseconds(9000));
  watch_.heard(1, working(2), milliseconds(9000));
  EXPECT_EQ(verdict_at(milliseconds(9999)), "");
  EXPECT_EQ(verdict_at(milliseconds(10000)),
            "rank 2 (pid 202 on south) is stopped or unreachable: silent for 10 s (last seen in attention, "
            "step 7)");
  const auto verdict = watch_.judge_silence(milliseconds(10000));
  ASSERT_TRUE(verdict && verdict->silent);
  EXPECT_EQ(verdict->silent->rank, 2);
}

TEST_F(GroupWatchTest, ARankThatWorksWithoutProgressIsStuck) {
  all_report(waiting(1), 0);
  watch_.heard(1, working(5), milliseconds(1000));
  for (int s = 2; s <= 11; ++s) {
    watch_.heard(0, waiting(1), milliseconds(s * 1000));
    watch_.heard(1, working(5), milliseconds(s * 1000));
    watch_.heard(2, waiting(1), milliseconds(s * 1000));
    if (s < 11) {
      EXPECT_EQ(verdict_at(milliseconds(s * 1000)), "");
    }
  }
  EXPECT_EQ(verdict_at(milliseconds(11000)),
            "rank 1 (pid 101 on north) is stuck in attention, step 7: no progress for 10 s");
  EXPECT_FALSE(watch_.judge(milliseconds(11000))->silent) << "its watchdog still hears, so nobody kills it";
  EXPECT_FALSE(watch_.judge_silence(milliseconds(11000)));
}

TEST_F(GroupWatchTest, TimeWithoutACpuIsHeldAgainstNobody) {
  for (RankReport report : {working(5), waiting(5)}) {
    GroupWatch watch({{0, 100, "north", true}}, kStuckAfter, kJoinLimit);
    for (int s = 0; s <= 20; ++s) {
      report.starved_milliseconds = static_cast<std::uint64_t>(500 * s);
      watch.heard(0, report, std::chrono::seconds(s));
      EXPECT_EQ(watch.judge(std::chrono::seconds(s)).has_value(), s == 20);
    }
    report.starved_milliseconds = ~std::uint64_t{0};
    watch.heard(0, report, std::chrono::seconds(20));
    EXPECT_FALSE(watch.judge(std::chrono::seconds(20)));
  }
}

TEST_F(GroupWatchTest, RanksThatAllWaitAreADeadlock) {
  for (int s = 0; s <= 10; ++s) all_report(waiting(3), s);
  EXPECT_EQ(verdict_at(milliseconds(9999)), "");
  EXPECT_EQ(
      verdict_at(milliseconds(10000)),
      "all ranks wait for one another, for 10 s already: rank 0 in a sum, step 7, rank 1 in a sum, step 7, "
      "rank 2 in a sum, step 7");
}

TEST_F(GroupWatchTest, WaitingForAnIdleOrWorkingRankIsNoDeadlock) {
  for (int s = 0; s <= 50; ++s) {
    all_report(waiting(3), s);
    watch_.heard(0, s < 25 ? idle() : working(static_cast<std::uint64_t>(s)), milliseconds(s * 1000));
    EXPECT_EQ(verdict_at(milliseconds(s * 1000)), "");
  }
}

TEST_F(GroupWatchTest, ARankThatLeftIsNotMissed) {
  for (int s = 0; s <= 50; ++s) {
    if (s == 1) watch_.left(2);
    for (int r = 0; r < (s < 1 ? 3 : 2); ++r) {
      watch_.heard(r, working(static_cast<std::uint64_t>(s)), milliseconds(s * 1000));
    }
  }
  EXPECT_EQ(verdict_at(milliseconds(50000)), "");
}

TEST_F(GroupWatchTest, WaitingForARankThatLeftIsADeadlock) {
  watch_.left(2);
  for (int s = 0; s <= 10; ++s) {
    watch_.heard(0, waiting(1), milliseconds(s * 1000));
    watch_.heard(1, waiting(1), milliseconds(s * 1000));
  }
  EXPECT_THAT(verdict_at(milliseconds(10000)), HasSubstr("rank 1 in a sum, step 7, rank 2 has left"));
}

TEST_F(GroupWatchTest, NothingIsWrongWhenAllHaveLeft) {
  for (int r = 0; r < 3; ++r) watch_.left(r);
  EXPECT_EQ(verdict_at(milliseconds(1000000)), "");
}

TEST_F(GroupWatchTest, ADeathIsToldWithTheLastActivity) {
  all_report(working(1), 0);
  EXPECT_EQ(watch_.ended_without_goodbye(1).message,
            "rank 1 (pid 101 on north) died (last seen in attention, step 7)");
}

TEST(WatchClock, CountsOnlyWhatItSaw) {
  const std::chrono::steady_clock::time_point start{};
  WatchClock clock(start, milliseconds(500));
  EXPECT_EQ(clock.look(start + milliseconds(250)), milliseconds(250));
  EXPECT_EQ(clock.look(start + milliseconds(750)), milliseconds(750));
  EXPECT_EQ(clock.look(start + std::chrono::hours(8)), milliseconds(1250)) << "the machine slept";
  EXPECT_EQ(clock.look(start + std::chrono::hours(8) + milliseconds(100)), milliseconds(1350));
}

TEST(WatchClock, LosesNothingToRounding) {
  std::chrono::steady_clock::time_point now{};
  WatchClock clock(now, milliseconds(500));
  WatchTime seen{0};
  for (int i = 0; i < 3000; ++i) seen = clock.look(now += std::chrono::microseconds(333));
  EXPECT_EQ(seen, milliseconds(999));
}

}  // namespace
}  // namespace sinkstream::watch
