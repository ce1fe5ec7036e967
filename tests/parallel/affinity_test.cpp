#include "parallel/affinity.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <thread>

#include "parallel/in_process.h"

namespace sinkstream {
namespace {

TEST(CpusOfLocalRank, DividesThemEvenlyInOrder) {
  const std::vector<int> cpus{0, 1, 2, 3, 8, 9, 10};
  EXPECT_EQ(cpus_of_local_rank(cpus, 0, 1), cpus);
  EXPECT_EQ(cpus_of_local_rank(cpus, 0, 2), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(cpus_of_local_rank(cpus, 1, 2), (std::vector<int>{8, 9, 10}));
  EXPECT_EQ(cpus_of_local_rank(cpus, 6, 7), (std::vector<int>{10}));
}

TEST(CpusOfLocalRank, EveryCpuIsUsedOnce) {
  std::vector<int> cpus(13);
  for (int i = 0; i < 13; ++i) cpus[static_cast<std::size_t>(i)] = i * 2;
  for (int size = 1; size <= 13; ++size) {
    std::vector<int> used;
    for (int r = 0; r < size; ++r) {
      const std::vector<int> share = cpus_of_local_rank(cpus, r, size);
      used.insert(used.end(), share.begin(), share.end());
    }
    EXPECT_EQ(used, cpus) << size << " ranks";
  }
}

TEST(CpusOfLocalRank, MoreRanksThanCpusShareThemInTurn) {
  const std::vector<int> cpus{4, 5};
  EXPECT_EQ(cpus_of_local_rank(cpus, 0, 3), (std::vector<int>{4}));
  EXPECT_EQ(cpus_of_local_rank(cpus, 1, 3), (std::vector<int>{5}));
  EXPECT_EQ(cpus_of_local_rank(cpus, 2, 3), (std::vector<int>{4}));
}

TEST(CpusOfLocalRank, NoneOfNone) {
  EXPECT_TRUE(cpus_of_local_rank({}, 0, 2).empty());
}

std::vector<int> cpus_of_this_thread() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

TEST(AllowedCpus, HoldOurOwn) {
  const std::vector<int> allowed = allowed_cpus();
  EXPECT_TRUE(std::ranges::is_sorted(allowed));
  EXPECT_TRUE(std::ranges::includes(allowed, cpus_of_this_thread()));
}

TEST(BindToCpus, BindsTheThreadAndThoseItStarts) {
  std::thread([] {
    const std::vector<int> one{cpus_of_this_thread().back()};
    EXPECT_TRUE(bind_to_cpus(one));
    EXPECT_EQ(cpus_of_this_thread(), one);
    std::thread([&] { EXPECT_EQ(cpus_of_this_thread(), one); }).join();
  }).join();
}

TEST(BindToCpus, SaysWhenItCannot) {
  EXPECT_FALSE(bind_to_cpus({}));
  EXPECT_FALSE(bind_to_cpus({100000}));
}

TEST(FindLocalRanks, CountsTheRanksOfThisHost) {
  const auto group = make_in_process_group(3);
  std::vector<LocalRanks> found(3);
  std::vector<std::thread> threads;
  for (std::size_t r = 0; r < 3; ++r)
    threads.emplace_back([&, r] { found[r] = find_local_ranks(*group[r]); });
  for (std::thread& thread : threads) thread.join();
  for (int r = 0; r < 3; ++r) {
    const LocalRanks& local = found[static_cast<std::size_t>(r)];
    EXPECT_EQ(local.local_rank, r);
    EXPECT_EQ(local.local_size, 3);
    EXPECT_TRUE(local.single_host);
    EXPECT_FALSE(local.host.empty());
  }
}

}  // namespace
}  // namespace sinkstream
