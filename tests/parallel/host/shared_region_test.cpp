#include "parallel/host/shared_region.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <system_error>

namespace sinkstream {
namespace {

TEST(SharedRegion, WhatOneWritesTheOtherReads) {
  const SharedRegion made = SharedRegion::make(10'000);
  const SharedRegion opened = SharedRegion::open(made.name(), 10'000);
  ASSERT_EQ(made.bytes().size(), 10'000u);
  EXPECT_NE(made.bytes().data(), opened.bytes().data());
  EXPECT_TRUE(std::ranges::all_of(made.bytes(), [](std::byte byte) { return byte == std::byte{0}; }));
  made.bytes().back() = std::byte{7};
  opened.bytes().front() = std::byte{8};
  EXPECT_EQ(opened.bytes().back(), std::byte{7});
  EXPECT_EQ(made.bytes().front(), std::byte{8});
}

TEST(SharedRegion, ItLastsAsLongAsAnybodyHasIt) {
  std::optional<SharedRegion> made(SharedRegion::make(100));
  const std::string name = made->name();
  const SharedRegion opened = SharedRegion::open(name, 100);
  made->close_name();
  EXPECT_THROW(SharedRegion::open(name, 100), std::system_error);
  made->bytes()[0] = std::byte{1};
  const SharedRegion moved = *std::move(made);
  made.reset();
  EXPECT_EQ(opened.bytes()[0], std::byte{1});
  EXPECT_EQ(moved.bytes()[0], std::byte{1});
}

TEST(SharedRegion, WhatCannotBeHadIsAnError) {
  EXPECT_THROW(SharedRegion::make(std::numeric_limits<std::size_t>::max()), std::system_error);
  EXPECT_THROW(SharedRegion::open("/proc/self/fd/none", 100), std::system_error);
}

}  // namespace
}  // namespace sinkstream
