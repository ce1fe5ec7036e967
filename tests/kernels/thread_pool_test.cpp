#include "kernels/cpu/thread_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "tests/patience.h"

namespace sinkstream::kernels {
namespace {

using namespace std::chrono_literals;
using Part = std::pair<std::int64_t, std::int64_t>;

std::vector<Part> ranges_of(ThreadPool& pool, std::int64_t count, std::int64_t grain) {
  std::mutex mutex;
  std::vector<Part> ranges;
  pool.parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
    const std::lock_guard lock(mutex);
    ranges.emplace_back(begin, end);
  });
  std::ranges::sort(ranges);
  return ranges;
}

TEST(ThreadPool, CoversEveryIndexOnceInWholeGrains) {
  for (const int threads : {1, 2, 3, 4}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (const std::int64_t count : {0, 1, 2, 3, 5, 16, 17, 1000}) {
      for (const std::int64_t grain : {1, 3, 7, 2000}) {
        SCOPED_TRACE(testing::Message() << threads << " threads, count " << count << ", grain " << grain);
        const std::vector<Part> ranges = ranges_of(pool, count, grain);
        EXPECT_LE(std::ssize(ranges), threads);
        std::int64_t covered = 0;
        for (const auto& [begin, end] : ranges) {
          EXPECT_EQ(begin, covered);
          EXPECT_GT(end, begin);
          EXPECT_TRUE(end == count || (end - begin) % grain == 0) << end - begin;
          covered = end;
        }
        EXPECT_EQ(covered, count);
      }
    }
  }
}

TEST(ThreadPool, RangesRunAtTheSameTime) {
  ThreadPool pool(3);
  std::atomic<int> inside{0};
  std::atomic<int> met{0};
  pool.parallel_for(3, 1, [&](std::int64_t, std::int64_t) {
    ++inside;
    if (eventually([&] { return inside == 3; })) ++met;
  });
  EXPECT_EQ(met, 3);
}

TEST(ThreadPool, OneThreadAndOneRangeRunOnTheCaller) {
  ThreadPool alone(1);
  ThreadPool several(3);
  const auto caller = std::this_thread::get_id();
  alone.parallel_for(100, 1,
                     [&](std::int64_t, std::int64_t) { EXPECT_EQ(std::this_thread::get_id(), caller); });
  several.parallel_for(100, 100,
                       [&](std::int64_t, std::int64_t) { EXPECT_EQ(std::this_thread::get_id(), caller); });
}

TEST(ThreadPool, ManyLoopsInARow) {
  ThreadPool pool(3);
  std::vector<std::int64_t> counts(3);
  constexpr int kLoops = 500;  // each a hand-over between threads, which a loaded machine takes its time for
  for (int i = 0; i < kLoops; ++i) {
    pool.parallel_for(3, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t k = begin; k < end; ++k) ++counts[k];
    });
  }
  EXPECT_EQ(counts, std::vector<std::int64_t>(3, kLoops));
}

TEST(ThreadPool, WakesAfterSleepingAndSleepsWithoutBurningTheProcessor) {
  ThreadPool pool(4);
  for (int i = 0; i < 5; ++i) {
    std::atomic<int> total{0};
    pool.parallel_for(4, 1,
                      [&](std::int64_t begin, std::int64_t end) { total += static_cast<int>(end - begin); });
    EXPECT_EQ(total, 4);
    std::this_thread::sleep_for(5ms);
  }
  // On a busy machine it takes a while until each has its turn to go to sleep.
  EXPECT_TRUE(eventually([] {
    const double before = processor_seconds();
    std::this_thread::sleep_for(300ms);
    return processor_seconds() - before < 0.01;
  }));
}

// The message of the exception that the loop throws; each range in `failing` throws its first index.
std::string error_of(ThreadPool& pool, std::vector<std::int64_t> failing) {
  try {
    pool.parallel_for(pool.size(), 1, [&](std::int64_t begin, std::int64_t) {
      if (std::ranges::count(failing, begin) != 0) throw std::runtime_error(std::to_string(begin));
    });
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "none";
}

TEST(ThreadPool, RethrowsTheFirstRangesException) {
  ThreadPool pool(4);
  EXPECT_EQ(error_of(pool, {2}), "2");
  EXPECT_EQ(error_of(pool, {3, 1}), "1");
  EXPECT_EQ(error_of(pool, {0, 1, 2, 3}), "0");
  EXPECT_EQ(error_of(pool, {}), "none") << "an old exception came back";
}

TEST(ThreadPool, WaitsForTheOthersBeforeThrowing) {
  ThreadPool pool(2);
  std::atomic<bool> finished{false};
  EXPECT_THROW(pool.parallel_for(2, 1,
                                 [&](std::int64_t begin, std::int64_t) {
                                   if (begin == 0) throw std::runtime_error("at once");
                                   std::this_thread::sleep_for(20ms);
                                   finished = true;
                                 }),
               std::runtime_error);
  EXPECT_TRUE(finished);
}

TEST(ThreadPool, RefusesALoopWithinALoop) {
  ThreadPool pool(2);
  const auto nothing = [](std::int64_t, std::int64_t) {};
  EXPECT_THROW(pool.parallel_for(2, 1, [&](std::int64_t, std::int64_t) { pool.parallel_for(2, 1, nothing); }),
               std::logic_error);
  EXPECT_EQ(ranges_of(pool, 2, 1).size(), 2u);
}

TEST(ThreadPool, RefusesBadNumbers) {
  EXPECT_THROW(ThreadPool(0), std::invalid_argument);
  EXPECT_THROW(ThreadPool(-1), std::invalid_argument);
  ThreadPool pool(2);
  const auto nothing = [](std::int64_t, std::int64_t) {};
  EXPECT_THROW(pool.parallel_for(-1, 1, nothing), std::invalid_argument);
  EXPECT_THROW(pool.parallel_for(1, 0, nothing), std::invalid_argument);
}

// Nowhere is there room for a stack of 128 TiB.
TEST(ThreadPool, AHostThatRefusesThreadsIsToldOfWithWhatHelps) {
  pthread_attr_t before, huge;
  ASSERT_EQ(pthread_getattr_default_np(&before), 0);
  ASSERT_EQ(pthread_getattr_default_np(&huge), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&huge, std::size_t{1} << 47), 0);
  ASSERT_EQ(pthread_setattr_default_np(&huge), 0);
  std::string said;
  ExitCode code = ExitCode::ok;
  try {
    ThreadPool(3);
  } catch (const StartupError& error) {
    said = error.what();
    code = error.code();
  }
  ASSERT_EQ(pthread_setattr_default_np(&before), 0);
  pthread_attr_destroy(&before);
  pthread_attr_destroy(&huge);
  EXPECT_THAT(said, testing::MatchesRegex("cannot start 3 threads on this rank: .+; lower parallel.threads"));
  EXPECT_EQ(code, ExitCode::device);
}

TEST(ThreadPool, StartsAndEndsQuickly) {
  for (int i = 0; i < 200; ++i) ThreadPool pool(3);
}

}  // namespace
}  // namespace sinkstream::kernels
