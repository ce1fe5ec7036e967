#include "base/show_bytes.h"

#include <gtest/gtest.h>

namespace sinkstream {
namespace {

TEST(ShowBytes, BytesReadWell) {
  EXPECT_EQ(show_bytes(17), "17 B");
  EXPECT_EQ(show_bytes(1536), "1.5 KiB");
  EXPECT_EQ(show_bytes(138LL << 30), "138.0 GiB");
}

}  // namespace
}  // namespace sinkstream
