// Run by mpirun: every rank runs the same cases at the same time. A failure on any rank fails the run.
#include "parallel/communicator/mpi_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "parallel/start/affinity.h"
#include "parallel/start/local_ranks.h"
#include "parallel/start/share_memory.h"
#include "tests/parallel/communicator/communicator_contract.h"

namespace sinkstream {
namespace {

using testing::HasSubstr;

Communicator* world = nullptr;  // GoogleTest's cases take no arguments

// The other ranks' progress would only repeat the leader's.
class FailuresOnly : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::cerr << "rank " << world->rank() << ": " << (result.file_name() ? result.file_name() : "?") << ":"
              << result.line_number() << ": " << result.message() << std::endl;
  }
};

TEST(MpiGroup, HasTheLaunchersSize) {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  EXPECT_EQ(world->size(), size == nullptr ? 1 : std::atoi(size));
}

TEST(MpiGroup, SumsInRankOrder) {
  contract::sums_in_rank_order(*world);
}
TEST(MpiGroup, SumDoesNotDependOnLength) {
  contract::sum_does_not_depend_on_length(*world);
}
TEST(MpiGroup, KeepsSignedZerosAndInfinities) {
  contract::keeps_signed_zeros_and_infinities(*world);
}
TEST(MpiGroup, BroadcastsAnyLength) {
  contract::broadcasts_any_length(*world);
}
TEST(MpiGroup, GathersInRankOrder) {
  contract::gathers_in_rank_order(*world);
}
TEST(MpiGroup, GathersValuesAndStrings) {
  contract::gathers_values_and_strings(*world);
}
TEST(MpiGroup, SurvivesManyOperations) {
  contract::survives_many_operations(*world);
}
TEST(MpiGroup, RefusesAResultOfTheWrongLength) {
  contract::refuses_a_result_of_the_wrong_length(*world);
}

// In memory that they share.
TEST(MpiGroup, MeetsInSharedMemory) {
  const auto shared = share_memory(*world);
  contract::sums_in_rank_order(*shared);
  contract::sum_does_not_depend_on_length(*shared);
  contract::broadcasts_any_length(*shared);
  contract::gathers_in_rank_order(*shared);
  contract::survives_many_operations(*shared);
}

// mpirun binds the ranks of small groups to one core each.
TEST(MpiGroup, AllRanksOfAHostMayUseTheSameCpus) {
  const std::vector<int> cpus = allowed_cpus();
  ASSERT_FALSE(cpus.empty());
  const LocalRanks local = find_local_ranks(*world);
  EXPECT_EQ(local.local_size, world->size());
  std::string text;
  for (const int cpu : cpus) text += std::to_string(cpu) + " ";
  for (const std::string& other : all_gather_strings(*world, text)) EXPECT_EQ(other, text);
}

TEST(MpiGroup, NamesTheLibrary) {
  EXPECT_THAT(MpiSession::library_version(), HasSubstr("MPI"));
}

// The tag counter comes round after 4096 operations.
TEST(MpiGroup, CountsOperationsBeyondTheTags) {
  for (int turn = 0; turn < 5000; ++turn) world->barrier();
}

}  // namespace
}  // namespace sinkstream

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  sinkstream::MpiSession session;
  sinkstream::world = &session.communicator();
  if (!sinkstream::world->is_leader()) {
    testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new sinkstream::FailuresOnly);
  }
  return RUN_ALL_TESTS();
}
