#include "parallel/communicator/in_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "tests/parallel/communicator/communicator_contract.h"

namespace sinkstream {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// Runs `body` on one thread for each rank.
void run_in_process(int size, const std::function<void(Communicator&)>& body) {
  const auto group = make_in_process_group(size);
  std::vector<std::thread> threads;
  for (const auto& communicator : group) threads.emplace_back([&] { body(*communicator); });
  for (std::thread& thread : threads) thread.join();
}

class InProcessGroup : public testing::TestWithParam<int> {
 protected:
  void run(void (*check)(Communicator&)) { run_in_process(GetParam(), check); }
};

TEST_P(InProcessGroup, SumsInRankOrder) {
  run(contract::sums_in_rank_order);
}
TEST_P(InProcessGroup, SumDoesNotDependOnLength) {
  run(contract::sum_does_not_depend_on_length);
}
TEST_P(InProcessGroup, KeepsSignedZerosAndInfinities) {
  run(contract::keeps_signed_zeros_and_infinities);
}
TEST_P(InProcessGroup, BroadcastsAnyLength) {
  run(contract::broadcasts_any_length);
}
TEST_P(InProcessGroup, GathersInRankOrder) {
  run(contract::gathers_in_rank_order);
}
TEST_P(InProcessGroup, GathersValuesAndStrings) {
  run(contract::gathers_values_and_strings);
}
TEST_P(InProcessGroup, SurvivesManyOperations) {
  run(contract::survives_many_operations);
}
TEST_P(InProcessGroup, RefusesAResultOfTheWrongLength) {
  run(contract::refuses_a_result_of_the_wrong_length);
}

TEST_P(InProcessGroup, KnowsItsRanks) {
  const auto group = make_in_process_group(GetParam());
  for (int r = 0; r < GetParam(); ++r) {
    const Communicator& communicator = *group[static_cast<std::size_t>(r)];
    EXPECT_EQ(communicator.rank(), r);
    EXPECT_EQ(communicator.size(), GetParam());
    EXPECT_EQ(communicator.is_leader(), r == 0);
  }
}

TEST_P(InProcessGroup, AbortOfOneRankEndsTheWaitingOfAll) {
  run_in_process(GetParam(), [](Communicator& communicator) {
    if (communicator.rank() == communicator.size() - 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      communicator.abort("rank said so");
    }
    EXPECT_THAT([&] { communicator.barrier(); }, ThrowsMessage<GroupEnded>(HasSubstr("rank said so")));
    std::vector<float> values(3);
    EXPECT_THROW(communicator.all_reduce_sum(values), GroupEnded) << "later operations throw too";
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, InProcessGroup, testing::Values(1, 2, 3, 4, 8));

TEST(InProcess, BarrierWaitsForTheLast) {
  std::atomic<int> arrived{0};
  run_in_process(
      4, [&](Communicator& communicator) { contract::barrier_waits_for_the_last(communicator, arrived); });
}

TEST(InProcess, ARankThatLeavesEndsTheOthers) {
  auto group = make_in_process_group(2);
  std::thread leaver([&] { group[1].reset(); });
  EXPECT_THAT([&] { group[0]->barrier(); }, ThrowsMessage<GroupEnded>(HasSubstr("rank 1 has left")));
  leaver.join();
}

TEST(InProcess, DifferentOperationsAreAnError) {
  run_in_process(2, [](Communicator& communicator) {
    std::vector<std::byte> message;
    const auto drift = [&] {
      communicator.is_leader() ? communicator.barrier() : communicator.broadcast(message);
    };
    EXPECT_THAT(drift, ThrowsMessage<std::logic_error>(HasSubstr("different operations")));
  });
}

TEST(InProcess, DifferentLengthsAreAnError) {
  run_in_process(3, [](Communicator& communicator) {
    std::vector<float> values(communicator.is_leader() ? 4 : 5);
    EXPECT_THAT([&] { communicator.all_reduce_sum(values); },
                ThrowsMessage<std::logic_error>(HasSubstr("bytes where rank")));
  });
}

TEST(InProcess, AGroupHasAtLeastOneRank) {
  EXPECT_THROW(make_in_process_group(0), std::invalid_argument);
  EXPECT_THROW(make_in_process_group(-1), std::invalid_argument);
}

}  // namespace
}  // namespace sinkstream
