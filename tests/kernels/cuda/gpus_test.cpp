#include "kernels/gpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sinkstream::kernels {
namespace {

using testing::HasSubstr;

GpuSearch search_that_found(int driver_cuda, std::vector<Gpu> gpus) {
  return {.gpus = std::move(gpus),
          .needed_cuda = 13000,
          .driver_cuda = driver_cuda,
          .driver_release = "570.86.15"};
}

TEST(CudaGpus, OnlyThoseThatThereIsCodeForAreUsable) {
  const GpuSearch search = search_that_found(
      13000,
      {{.number = 0, .capability = 75}, {.number = 1, .capability = 80}, {.number = 2, .capability = 120}});
  const std::vector<Gpu> usable = usable_gpus(search);
  ASSERT_EQ(usable.size(), 2u);
  EXPECT_EQ(usable[0].number, 1);
  EXPECT_EQ(usable[1].number, 2);
  EXPECT_EQ(why_no_gpu(search), "");
}

TEST(CudaGpus, TheReasonSaysWhatToDo) {
  EXPECT_THAT(why_no_gpu(search_that_found(0, {})), HasSubstr("no NVIDIA driver"));
  EXPECT_EQ(why_no_gpu(search_that_found(12080, {})),
            "the NVIDIA driver 570.86.15 does CUDA 12.8 at most, and this build needs 13.0: install driver "
            "580 or newer");
  EXPECT_THAT(why_no_gpu(search_that_found(13000, {})), HasSubstr("CUDA_VISIBLE_DEVICES"));
  EXPECT_THAT(why_no_gpu(search_that_found(13000, {{.name = "Tesla V100", .capability = 70}})),
              HasSubstr("the Tesla V100 has compute capability 7.0"));
}

// Minor versions of CUDA work with the first driver of their major version.
TEST(CudaGpus, AnOlderMinorVersionOfTheDriverWillDo) {
  GpuSearch search = search_that_found(13000, {{.capability = 90}});
  search.needed_cuda = 13010;
  EXPECT_EQ(why_no_gpu(search), "");
  search.gpus.clear();
  search.error = "out of order";
  EXPECT_THAT(why_no_gpu(search), HasSubstr("no GPU is to be seen: out of order"));
}

}  // namespace
}  // namespace sinkstream::kernels
