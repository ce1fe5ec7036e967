#include "programs/rank_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "parallel/communicator/in_process.h"

namespace sinkstream {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// Whether the ranks have something else than the group's own, which works.
bool meets_elsewhere(int ranks, const std::string& asked, bool single_host) {
  Config config;
  config.parallel.communicator = asked;
  LocalRanks local;
  local.single_host = single_host;
  const auto group = make_in_process_group(ranks);
  int elsewhere = 0;
  std::vector<std::thread> threads;
  for (const auto& base : group) {
    threads.emplace_back([&] {
      const auto over = rank_communicator(*base, config, local);
      std::vector<float> values = {1};
      (over ? *over : *base).all_reduce_sum(values);
      EXPECT_EQ(values[0], ranks);
      if (base->is_leader()) elsewhere = over != nullptr;
    });
  }
  for (std::thread& thread : threads) thread.join();
  return elsewhere;
}

TEST(RankCommunicator, RanksOfOneHostShareMemory) {
  for (const char* asked : {"auto", "shm", "nccl"}) EXPECT_TRUE(meets_elsewhere(2, asked, true)) << asked;
  EXPECT_FALSE(meets_elsewhere(2, "mpi", true));
  EXPECT_FALSE(meets_elsewhere(2, "auto", false)) << "on several hosts";
  EXPECT_FALSE(meets_elsewhere(1, "shm", true)) << "nobody to share with";
}

TEST(RankCommunicator, RanksOfSeveralHostsCannotShareMemory) {
  const auto group = make_in_process_group(2);
  Config config;
  config.parallel.communicator = "shm";
  LocalRanks local;
  local.single_host = false;
  EXPECT_THAT([&] { rank_communicator(*group[0], config, local); },
              ThrowsMessage<StartupError>(HasSubstr("these are on several; take mpi")));
}

}  // namespace
}  // namespace sinkstream
