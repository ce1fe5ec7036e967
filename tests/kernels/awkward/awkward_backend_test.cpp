// That the awkward backend is awkward.
#include "tests/kernels/awkward/awkward_backend.h"

#include <gmock/gmock.h>

#include <set>
#include <stdexcept>

#include "parallel/communicator/in_process.h"
#include "tests/kernels/on_device.h"

namespace sinkstream::kernels {
namespace {

class Awkward : public testing::Test {
 protected:
  std::vector<std::unique_ptr<Communicator>> group_ = make_in_process_group(1);
  AwkwardBackend backend_{*group_[0]};
};

using AwkwardDeathTest = Awkward;

TEST_F(AwkwardDeathTest, ItsMemoryFaultsWhenTheHostTouchesIt) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const OnDevice<float> values(backend_, std::vector<float>{1, 2, 3});
  wait_for_all(backend_);
  auto* const address = reinterpret_cast<volatile float*>(DeviceSpan<float>(values).data);
  EXPECT_DEATH({ [[maybe_unused]] const float value = *address; }, "");
  EXPECT_DEATH({ *address = 1.0f; }, "");
}

TEST_F(AwkwardDeathTest, AnOperationThatReadsBeyondTheEndFaults) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const OnDevice<float> values(backend_, std::vector<float>(100));
  EXPECT_DEATH(
      {
        std::vector<std::byte> more(101 * sizeof(float) + 8);
        backend_.download(DeviceSpan<float>(values).data, more);
        wait_for_all(backend_);
      },
      "");
}

TEST_F(AwkwardDeathTest, MemoryThatWasGivenBackFaults) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        const Address gone = backend_.allocate(100, "a test").address();
        std::vector<std::byte> bytes(100);
        backend_.download(gone, bytes);
        wait_for_all(backend_);
      },
      "");
}

TEST_F(Awkward, AddressesNeverRepeat) {
  std::set<Address> seen;
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(seen.insert(backend_.allocate(1000, "a test").address()).second);
  }
}

TEST_F(Awkward, ADownloadIsGarbageUntilAWaitThatIncludesIt) {
  const OnDevice<float> values(backend_, std::vector<float>(8, 1.5f));
  const std::uint64_t before = backend_.mark();
  std::vector<float> read(8, 1.5f);
  backend_.download(DeviceSpan<float>(values).data, std::as_writable_bytes(std::span(read)));
  EXPECT_NE(read[0], 1.5f);
  backend_.wait(before);
  EXPECT_NE(read[0], 1.5f) << "a mark before it does not include it";
  wait_for_all(backend_);
  EXPECT_EQ(read, std::vector<float>(8, 1.5f));
  EXPECT_THROW(backend_.wait(99), std::invalid_argument);
}

TEST_F(Awkward, MarksThatNobodyHasWaitedForAreCounted) {
  backend_.wait(backend_.mark());
  backend_.wait(backend_.mark());
  EXPECT_EQ(backend_.most_marks_unwaited(), 1u);
  const std::uint64_t first = backend_.mark();
  const std::uint64_t second = backend_.mark();
  backend_.wait(second);
  backend_.wait(first);
  backend_.wait(backend_.mark());
  EXPECT_EQ(backend_.most_marks_unwaited(), 2u);
}

TEST_F(Awkward, MemoryOutlivesTheWorkThatWasQueuedOnIt) {
  std::vector<float> read(8);
  {
    const OnDevice<float> values(backend_, std::vector<float>(8, 2.5f));
    backend_.download(DeviceSpan<float>(values).data, std::as_writable_bytes(std::span(read)));
  }
  wait_for_all(backend_);
  EXPECT_EQ(read, std::vector<float>(8, 2.5f));
}

TEST_F(Awkward, WhatFailsIsThrownByEveryLaterWait) {
  const DeviceTensor x(backend_, Tensor(2, 3));
  const auto before = backend_.mark();
  backend_.wait(before);
  group_[0]->abort("the group was broken");
  backend_.sum_over_ranks(x);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT([&] { wait_for_all(backend_); },
                testing::ThrowsMessage<GroupEnded>(testing::HasSubstr("the group was broken")));
  }
}

}  // namespace
}  // namespace sinkstream::kernels
