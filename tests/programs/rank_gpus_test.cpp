#include "programs/rank_gpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace sinkstream {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

kernels::Gpu gpu(int number, const std::string& uuid, int capability = 90) {
  return {.number = number, .name = "GPU " + uuid, .uuid = uuid, .capability = capability, .total_bytes = 80};
}

std::vector<int> numbers(const std::vector<RankGpu>& places) {
  std::vector<int> result;
  for (const RankGpu& place : places) result.push_back(place.gpu.number);
  return result;
}

std::vector<int> ranks_on(const std::vector<RankGpu>& places) {
  std::vector<int> result;
  for (const RankGpu& place : places) result.push_back(place.ranks);
  return result;
}

TEST(CudaRankGpus, RanksOfAHostTakeItsGpusInOrder) {
  const VisibleGpus one{"one x", {gpu(0, "a"), gpu(1, "b")}};
  const VisibleGpus two{"two x", {gpu(0, "c"), gpu(1, "d")}};
  EXPECT_THAT(numbers(place_ranks({one, two, two, one}, false)), ElementsAre(0, 0, 1, 1));
}

TEST(CudaRankGpus, RanksMaySeeEachTheirOwn) {
  EXPECT_THAT(numbers(place_ranks({{"h", {gpu(0, "a")}}, {"h", {gpu(0, "b")}}}, false)), ElementsAre(0, 0));
  // The same GPUs by other numbers.
  EXPECT_THAT(
      numbers(place_ranks({{"h", {gpu(0, "a"), gpu(1, "b")}}, {"h", {gpu(0, "b"), gpu(1, "a")}}}, false)),
      ElementsAre(0, 0));
}

TEST(CudaRankGpus, SharingIsEvenAndOnlyWhereItIsAllowed) {
  const VisibleGpus host{"node7 boot net pid", {gpu(0, "a"), gpu(2, "b")}};
  const std::vector<VisibleGpus> ranks(5, host);
  const auto places = place_ranks(ranks, true);
  EXPECT_THAT(numbers(places), ElementsAre(0, 2, 0, 2, 0));
  EXPECT_THAT(ranks_on(places), ElementsAre(3, 2, 3, 2, 3));
  EXPECT_THAT([&] { place_ranks(ranks, false); },
              ThrowsMessage<StartupError>(HasSubstr("node7: 5 ranks, and 2 GPU(s)")));
}

TEST(CudaRankGpus, AllAreOfOneComputeCapability) {
  const VisibleGpus mixed{"h", {gpu(0, "a", 90), gpu(1, "b", 80)}};
  EXPECT_THAT(
      [&] {
        place_ranks({mixed, mixed}, false);
      },
      ThrowsMessage<StartupError>(HasSubstr("rank 1 is on a GPU b, rank 0 on a GPU a")));
  EXPECT_THAT(numbers(place_ranks({mixed}, false)), ElementsAre(0));
}

}  // namespace
}  // namespace sinkstream
