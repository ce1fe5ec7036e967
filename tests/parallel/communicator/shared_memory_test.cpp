#include "parallel/communicator/shared_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "parallel/communicator/in_process.h"
#include "parallel/start/share_memory.h"
#include "tests/parallel/communicator/communicator_contract.h"

namespace sinkstream {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// Runs `body` on one thread for each rank; here processes are threads, each with the memory at its own
// address.
void run_in_shared_memory(int size, const std::function<void(Communicator&)>& body) {
  const auto group = make_in_process_group(size);
  std::vector<std::thread> threads;
  for (const auto& base : group) threads.emplace_back([&] { body(*share_memory(*base)); });
  for (std::thread& thread : threads) thread.join();
}

class SharedMemoryGroup : public testing::TestWithParam<int> {
 protected:
  void run(void (*check)(Communicator&)) { run_in_shared_memory(GetParam(), check); }
};

TEST_P(SharedMemoryGroup, SumsInRankOrder) {
  run(contract::sums_in_rank_order);
}
TEST_P(SharedMemoryGroup, SumDoesNotDependOnLength) {
  run(contract::sum_does_not_depend_on_length);
}
TEST_P(SharedMemoryGroup, KeepsSignedZerosAndInfinities) {
  run(contract::keeps_signed_zeros_and_infinities);
}
TEST_P(SharedMemoryGroup, BroadcastsAnyLength) {
  run(contract::broadcasts_any_length);
}
TEST_P(SharedMemoryGroup, GathersInRankOrder) {
  run(contract::gathers_in_rank_order);
}
TEST_P(SharedMemoryGroup, GathersValuesAndStrings) {
  run(contract::gathers_values_and_strings);
}
TEST_P(SharedMemoryGroup, SurvivesManyOperations) {
  run(contract::survives_many_operations);
}
TEST_P(SharedMemoryGroup, RefusesAResultOfTheWrongLength) {
  run(contract::refuses_a_result_of_the_wrong_length);
}

// Of all kinds, each of several pieces.
TEST_P(SharedMemoryGroup, TakesWhatIsLongerThanAPiece) {
  run([](Communicator& communicator) {
    for (const std::size_t length : {65'536, 65'537, 131'072, 300'000}) {
      std::vector<float> values = contract::values_of_rank(communicator.rank(), length);
      communicator.all_reduce_sum(values);
      contract::expect_equal_bits(values, contract::sum_in_rank_order(communicator.size(), length));
      const std::vector<std::byte> mine(length * 4, static_cast<std::byte>(communicator.rank() + 1));
      std::vector<std::byte> all(mine.size() * static_cast<std::size_t>(communicator.size()));
      communicator.all_gather(mine, all);
      for (std::size_t i = 0; i < all.size(); ++i)
        ASSERT_EQ(all[i], static_cast<std::byte>(i / mine.size() + 1)) << i;
    }
  });
}

TEST_P(SharedMemoryGroup, KnowsItsRanks) {
  const int size = GetParam();
  std::atomic<int> ranks{0};
  run_in_shared_memory(size, [&](Communicator& communicator) {
    EXPECT_EQ(communicator.size(), size);
    ranks += 1 << communicator.rank();
  });
  EXPECT_EQ(ranks, (1 << size) - 1);
}

INSTANTIATE_TEST_SUITE_P(Sizes, SharedMemoryGroup, testing::Values(1, 2, 3, 4, 8));

TEST(SharedMemory, BarrierWaitsForTheLast) {
  std::atomic<int> arrived{0};
  run_in_shared_memory(
      4, [&](Communicator& communicator) { contract::barrier_waits_for_the_last(communicator, arrived); });
}

// Each rank's own watchdog ends its waiting; so it does with the group below.
TEST(SharedMemory, AbortEndsWaitingAndAllThatComes) {
  const auto group = make_in_process_group(2);
  std::thread other([&] { share_memory(*group[1]); });
  const auto communicator = share_memory(*group[0]);
  other.join();
  std::thread watchdog([&] { communicator->abort("rank 1 is gone"); });
  EXPECT_THAT([&] { communicator->barrier(); }, ThrowsMessage<GroupEnded>(HasSubstr("rank 1 is gone")));
  watchdog.join();
  std::vector<std::byte> message;
  EXPECT_THROW(communicator->broadcast(message), GroupEnded);
  EXPECT_THROW(group[0]->barrier(), GroupEnded);
}

TEST(SharedMemory, DifferentOperationsAreAnError) {
  run_in_shared_memory(2, [](Communicator& communicator) {
    std::vector<float> values(3);
    const auto drift = [&] {
      communicator.is_leader() ? communicator.barrier() : communicator.all_reduce_sum(values);
    };
    EXPECT_THAT(drift, ThrowsMessage<std::logic_error>(HasSubstr("drifted apart")));
  });
}

TEST(SharedMemory, DifferentLengthsAreAnError) {
  for (const std::size_t length : {4, 100'000}) {
    run_in_shared_memory(3, [length](Communicator& communicator) {
      std::vector<float> values(communicator.is_leader() ? length : length + 1);
      EXPECT_THAT([&] { communicator.all_reduce_sum(values); },
                  ThrowsMessage<std::logic_error>(HasSubstr("bytes where rank")));
    });
  }
}

TEST(SharedMemory, OfAnotherNumberOfRanksIsRefused) {
  const auto group = make_in_process_group(3);
  SharedRegion region = SharedRegion::make(shared_memory_bytes(2));
  EXPECT_THROW(make_shared_memory_communicator(*group[0], std::move(region)), std::invalid_argument);
}

}  // namespace
}  // namespace sinkstream
