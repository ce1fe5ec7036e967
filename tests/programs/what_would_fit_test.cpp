#include "programs/what_would_fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "programs/sizing.h"
#include "tests/paths.h"

namespace sinkstream {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

class WhatWouldFit : public testing::Test {
 protected:
  std::string on(int ranks, std::int64_t bytes) const {
    return what_would_fit(config_, model_, ranks, bytes);
  }

  Config config_ = load_config((project_dir() / "configs/llama70b.yaml").string(), {"parallel.device=cuda"});
  ModelConfig model_ = read_model_config(config_.model.path);
};

TEST_F(WhatWouldFit, FewerSlots) {
  config_.cache.slots = 300;
  EXPECT_THAT(on(8, 75 * kGiB), HasSubstr("it fits with cache.slots: 236"));
  EXPECT_THAT(on(8, 75 * kGiB), HasSubstr("cache.window_tokens: 2046"));
}

TEST_F(WhatWouldFit, SmallerWeightsOrMoreRanks) {
  EXPECT_EQ(on(8, 12 * kGiB), "it fits with model.weights: int8, or with 14 ranks with as much memory each");
  EXPECT_THAT(on(8, 8 * kGiB), HasSubstr("model.weights: int4"));
}

// Each change that is named is enough.
TEST_F(WhatWouldFit, IsTrue) {
  const auto fits = [&](int ranks) { return report_sizing(config_, model_, ranks, 12 * kGiB).fits; };
  EXPECT_FALSE(fits(8));
  EXPECT_FALSE(fits(13));
  EXPECT_TRUE(fits(14));
  config_.model.weights = "int8";
  EXPECT_TRUE(fits(8));
}

// What is set aside for parked sessions is missing where slots stand in the same memory.
TEST_F(WhatWouldFit, LessForParkedSessions) {
  config_.parallel.device = "cpu";
  config_.parking.bytes = std::int64_t{1} << 45;
  EXPECT_THAT(on(64, 12 * kGiB), HasSubstr("it fits with a lower sessions.parked_bytes"));
}

TEST_F(WhatWouldFit, OrNothingDoes) {
  EXPECT_THAT(on(64, kGiB), HasSubstr("no setting alone makes it fit"));
}

}  // namespace
}  // namespace sinkstream
