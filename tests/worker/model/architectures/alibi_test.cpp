#include "worker/model/architectures/alibi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace sinkstream {
namespace {

using testing::ElementsAre;
using testing::FloatEq;

auto powers_of_two(const std::vector<double>& exponents) {
  std::vector<testing::Matcher<float>> matchers;
  for (const double exponent : exponents)
    matchers.push_back(FloatEq(static_cast<float>(std::exp2(exponent))));
  return testing::ElementsAreArray(matchers);
}

TEST(AlibiSlopes, OfPowersOfTwoAreTheSameInBothFamilies) {
  EXPECT_THAT(mpt_alibi_slopes(8, 8), powers_of_two({-1, -2, -3, -4, -5, -6, -7, -8}));
  for (const std::int64_t heads : {1, 2, 16, 64})
    EXPECT_EQ(mpt_alibi_slopes(heads, 8), falcon_alibi_slopes(heads, 1));
}

// As transformers' build_mpt_alibi_tensor and build_alibi_tensor (Falcon) give them.
TEST(AlibiSlopes, OfOtherNumbersOfHeads) {
  EXPECT_THAT(mpt_alibi_slopes(3, 8), powers_of_two({-4, -8, -2}));
  EXPECT_THAT(mpt_alibi_slopes(6, 8), powers_of_two({-2, -4, -6, -8, -1, -3}));
  EXPECT_THAT(falcon_alibi_slopes(3, 1), powers_of_two({-4, -8, -2}));
  EXPECT_THAT(falcon_alibi_slopes(6, 1), powers_of_two({-2, -4, -6, -8, -1, -3}));
  EXPECT_THAT(falcon_alibi_slopes(7, 1), powers_of_two({-2, -4, -6, -8, -1, -3, -5}));
  EXPECT_EQ(falcon_alibi_slopes(71, 1).size(), 71u);
  EXPECT_EQ(mpt_alibi_slopes(71, 8).size(), 71u);
}

TEST(AlibiSlopes, FollowTheirFactors) {
  EXPECT_THAT(mpt_alibi_slopes(2, 4), powers_of_two({-2, -4}));
  EXPECT_THAT(falcon_alibi_slopes(2, 0.125), ElementsAre(FloatEq(0.125f / 16), FloatEq(0.125f / 256)));
}

}  // namespace
}  // namespace sinkstream
