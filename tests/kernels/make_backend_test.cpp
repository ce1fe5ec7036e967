#include "kernels/make_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "base/error.h"
#include "parallel/communicator/in_process.h"
#include "tests/unpadded_bytes.h"

namespace sinkstream::kernels {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(MakeBackend, MakesEachByItsNameAndEachDescribesItself) {
  const auto group = make_in_process_group(1);
  EXPECT_THAT(device_names(), testing::ElementsAre("cpu", "cuda", "reference"));
  EXPECT_THAT(backend_names(), testing::IsSubsetOf(device_names()));
  for (const std::string& name : backend_names()) {
    const auto backend = make_backend({.device = name, .threads = 1}, *group[0]);
    EXPECT_THAT(backend->description(), testing::StartsWith(name));
    EXPECT_GE(backend->steps_in_flight(), 1);
    EXPECT_GT(free_device_bytes(name), 0);
    EXPECT_THAT(describe_device(name), testing::StartsWith(name));
  }
  EXPECT_THAT(make_backend({.device = "cpu", .threads = 3}, *group[0])->description(),
              HasSubstr("3 threads"));
}

// Before a rank starts, and when it loads, the same is counted; a row of 700,000 fills a huge page.
TEST(MakeBackend, AWeightTakesWhatWasForetold) {
  const auto group = make_in_process_group(1);
  for (const std::string& name : backend_names()) {
    const auto backend = make_backend({.device = name}, *group[0]);
    for (const std::int64_t width : {0, 33, 700'000}) {
      for (const WeightFormat format :
           {WeightFormat::f32, WeightFormat::bf16, WeightFormat::int8, WeightFormat::int4}) {
        const WeightShape shape = weight_shape(format, 5, {0, width}, width);
        const std::int64_t bytes = packed_bytes(name, shape);
        EXPECT_EQ(backend->packed_bytes(shape), bytes);
        EXPECT_EQ(backend->allocate_weight(shape).memory.bytes(), bytes);
        EXPECT_GE(bytes, unpadded_bytes(shape));
        if (name != "cuda" && width == 700'000 && format != WeightFormat::int4) {
          EXPECT_EQ(bytes % (2 << 20), 0);
        }
      }
    }
  }
}

// A plan for GPUs can be made without one.
TEST(MakeBackend, CudaTakesWhatWasForetoldWithoutCuda) {
  const WeightShape shape = weight_shape(WeightFormat::bf16, 5, {0, 33}, 33);
  EXPECT_EQ(packed_bytes("cuda", shape), 2 * 16 * 32 * 2);  // whole tiles and groups
  EXPECT_EQ(own_bytes("cpu"), 0);
  EXPECT_GT(own_bytes("cuda"), 0);
}

TEST(MakeBackend, WithoutAGpuCudaIsRefusedAndTheCpuTaken) {
  const BestDevice best = best_device();
  if (best.why_no_gpu.empty()) GTEST_SKIP() << "there is a GPU";
  EXPECT_EQ(best.name, "cpu");
  const auto group = make_in_process_group(1);
  EXPECT_THAT([&] { make_backend({.device = "cuda"}, *group[0]); },
              ThrowsMessage<StartupError>(best.why_no_gpu));
  EXPECT_THAT([&] { free_device_bytes("cuda"); }, ThrowsMessage<StartupError>(best.why_no_gpu));
  EXPECT_THAT(describe_device("cuda"), HasSubstr(best.why_no_gpu));
}

TEST(MakeBackend, RefusesWhatThereIsNot) {
  const auto group = make_in_process_group(1);
  EXPECT_THAT([&] { make_backend({.device = "abacus"}, *group[0]); },
              ThrowsMessage<std::invalid_argument>(
                  HasSubstr("no device \"abacus\"; there are cpu, cuda, reference")));
  EXPECT_THROW(free_device_bytes("abacus"), std::invalid_argument);
  EXPECT_THROW(describe_device("abacus"), std::invalid_argument);
  EXPECT_THROW(make_backend({.device = "cpu", .threads = 0}, *group[0]), std::invalid_argument);
}

}  // namespace
}  // namespace sinkstream::kernels
