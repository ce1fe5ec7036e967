#include "base/durations.h"

#include <gtest/gtest.h>

namespace sinkstream {
namespace {

using std::chrono::milliseconds;

TEST(InSeconds, ShowsTenthsWhereThereAreSome) {
  EXPECT_EQ(in_seconds(milliseconds(10000)), "10 s");
  EXPECT_EQ(in_seconds(milliseconds(1500)), "1.5 s");
  EXPECT_EQ(in_seconds(milliseconds(0)), "0 s");
}

TEST(Seconds, ThereAndBack) {
  EXPECT_EQ(to_seconds(milliseconds(1500)), 1.5);
  EXPECT_EQ(to_milliseconds(1.5), milliseconds(1500));
}

}  // namespace
}  // namespace sinkstream
