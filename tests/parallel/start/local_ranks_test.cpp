#include "parallel/start/local_ranks.h"

#include <gtest/gtest.h>

#include <thread>

#include "parallel/communicator/in_process.h"

namespace sinkstream {
namespace {

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
