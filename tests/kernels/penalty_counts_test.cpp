#include "kernels/host/penalty_counts.h"

#include <gtest/gtest.h>

#include <random>

namespace sinkstream::kernels {
namespace {

using Counts = std::unordered_map<TokenId, std::int32_t>;

SamplingParams penalties_over(std::int32_t repeat_last_n) {
  SamplingParams sampling;
  sampling.repetition_penalty = 1.1f;
  sampling.repeat_last_n = repeat_last_n;
  return sampling;
}

TEST(PenaltyCounts, AreOfTheWholeOutputUnlessToldOtherwise) {
  PenaltyCounts output(penalties_over(-1));
  for (int i = 0; i < 100'000; ++i) output.add(i % 2 ? 7 : 8);
  EXPECT_EQ(output.counts(), (Counts{{7, 50'000}, {8, 50'000}}));
}

TEST(PenaltyCounts, NothingIsCountedThatNothingAsksFor) {
  for (const SamplingParams& sampling : {SamplingParams(), penalties_over(0)}) {
    PenaltyCounts none(sampling);
    none.add(2);
    EXPECT_TRUE(none.counts().empty());
  }
}

TEST(PenaltyCounts, OfTheNewestTokensEarlierAnswersBeforeThisOne) {
  std::mt19937 random(3);
  for (const std::int32_t last_n : {1, 2, 7, 64}) {
    SamplingParams sampling = penalties_over(last_n);
    sampling.end_tokens = {4, 9};  // an answer may end with them, and the next goes on
    std::vector<TokenId> all(static_cast<std::size_t>(last_n), 11);
    sampling.earlier_output = all;
    PenaltyCounts newest(sampling);
    for (int i = 0; i < 500; ++i) {
      const auto token = static_cast<TokenId>(random() % 12);
      newest.add(token);
      if (token != 4 && token != 9) all.push_back(token);
      Counts expected;
      for (auto it = all.end() - last_n; it != all.end(); ++it) ++expected[*it];
      ASSERT_EQ(newest.counts(), expected) << last_n << " newest of " << i;
    }
  }
}

}  // namespace
}  // namespace sinkstream::kernels
