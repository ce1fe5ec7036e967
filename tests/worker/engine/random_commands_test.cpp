#include "tests/worker/engine/random_commands.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace sinkstream {
namespace {

class RandomCommandsTest : public testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Depths, RandomCommandsTest, testing::Values(1, 2, 3),
                         [](const auto& test) { return std::to_string(test.param); });

TEST_P(RandomCommandsTest, EveryChoiceEndsOnceAndSaysWhatItSaysAlone) {
  const char* const many = std::getenv("SEEDS");
  const unsigned seeds = many ? static_cast<unsigned>(std::atoi(many)) : 300;
  std::int64_t parks = 0, restores = 0;
  for (unsigned seed = 0; seed < seeds && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomCommands random(GetParam(), seed);
    random.run(120);
    parks += random.parks;
    restores += random.restores;
  }
  EXPECT_GT(parks, seeds);
  EXPECT_GT(restores, seeds / 2);
}

}  // namespace
}  // namespace sinkstream
