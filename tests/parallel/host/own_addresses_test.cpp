#include "parallel/host/own_addresses.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace sinkstream {
namespace {

class ReachOwnAddresses : public testing::Test {
 protected:
  void SetUp() override { unsetenv(kVariable); }
  void TearDown() override { unsetenv(kVariable); }

  static std::string set_for(int size, int local_size) {
    reach_own_addresses({.size = size, .local_size = local_size});
    const char* const value = std::getenv(kVariable);
    return value == nullptr ? "" : value;
  }

  static constexpr const char* kVariable = "OMPI_MCA_reachable";
};

TEST_F(ReachOwnAddresses, ComparesAddressesWhereAllRanksShareOneHost) {
  EXPECT_EQ(set_for(2, 2), "weighted");
}

TEST_F(ReachOwnAddresses, LeavesSeveralHostsToTheRoutes) {
  EXPECT_EQ(set_for(3, 2), "");
}

TEST_F(ReachOwnAddresses, LeavesRanksThatNobodyCountedToTheRoutes) {
  EXPECT_EQ(set_for(1, 1), "");
}

TEST_F(ReachOwnAddresses, LeavesItToTheUserWhoSaysHow) {
  setenv(kVariable, "netlink", 1);
  EXPECT_EQ(set_for(2, 2), "netlink");
}

}  // namespace
}  // namespace sinkstream
