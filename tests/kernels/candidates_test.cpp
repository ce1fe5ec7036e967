#include "kernels/candidates.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/gumbel_noise.h"
#include "parallel/shard_plan.h"

namespace sinkstream::kernels {
namespace {

constexpr std::int64_t kVocabulary = 23;

// Some of them equal.
double score_of(std::int64_t token) {
  return static_cast<double>(token * 7 % 11) * 0.5 - 1;
}

std::vector<Candidate> best_of(Range tokens, std::int64_t width) {
  std::vector<Candidate> best;
  for (std::int64_t token = tokens.begin; token < tokens.end; ++token) {
    best.push_back({.token = static_cast<TokenId>(token), .score = score_of(token)});
  }
  std::ranges::sort(best, ahead);
  best.resize(static_cast<std::size_t>(width));
  return best;
}

Merged merge_of(int ranks, std::int64_t width) {
  std::vector<Candidate> gathered;
  for (int rank = 0; rank < ranks; ++rank) {
    const auto best = best_of(split_evenly(kVocabulary, ranks, rank), width);
    gathered.insert(gathered.end(), best.begin(), best.end());
  }
  return merge(gathered, width, ranks, kVocabulary);
}

ExpSum sum_of(Range tokens) {
  ExpSum result;
  for (std::int64_t token = tokens.begin; token < tokens.end; ++token) {
    result = combine(result, {.max = score_of(token), .sum = 1});
  }
  return result;
}

// By definition, from the whole vocabulary.
std::size_t kept_by_definition(const SamplingParams& sampling) {
  std::vector<Candidate> kept = best_of({0, kVocabulary}, kVocabulary);
  if (sampling.top_k > 0) kept.resize(static_cast<std::size_t>(sampling.top_k));
  double total = 0, before = 0;
  for (const Candidate& candidate : kept) total += std::exp(candidate.score);
  std::size_t count = 0;
  for (const Candidate& candidate : kept) {
    const bool within_mass = sampling.top_p >= 1 || before < sampling.top_p * total;
    const bool likely = std::exp(candidate.score - kept.front().score) >= sampling.min_p;
    if (count > 0 && !(within_mass && likely)) break;
    before += std::exp(candidate.score);
    ++count;
  }
  return count;
}

TEST(Candidates, WhatIsSaidOfAFewIsTrueOfAll) {
  const SamplingParams cases[] = {
      {.top_k = 3},  {.top_p = 0.45f}, {.min_p = 0.2f}, {.top_k = 9, .top_p = 0.7f, .min_p = 0.05f},
      {.top_k = 23},
  };
  const std::vector<Candidate> order = best_of({0, kVocabulary}, kVocabulary);
  int told = 0, untold = 0;
  for (const SamplingParams& sampling : cases) {
    EXPECT_TRUE(is_truncated(sampling));
    const std::size_t expected = kept_by_definition(sampling);
    for (const int ranks : {1, 2, 3}) {
      const std::int64_t largest = split_evenly(kVocabulary, ranks, 0).size();
      for (std::int64_t width = 1; width <= largest; ++width) {
        SCOPED_TRACE(testing::Message()
                     << ranks << " ranks, " << width << " of each, top_k " << sampling.top_k);
        const Merged merged = merge_of(ranks, width);
        for (std::size_t i = 0; i < merged.certain; ++i) {
          EXPECT_EQ(merged.candidates[i].token, order[i].token) << i;
        }
        const auto kept = kept_candidates(merged, sampling, sum_of({0, kVocabulary}));
        ++(kept ? told : untold);
        if (kept) {
          EXPECT_EQ(*kept, expected);
        }
        if (width == largest) {
          EXPECT_TRUE(kept) << "all of them are there";
        }
      }
    }
  }
  EXPECT_GT(told, 20);
  EXPECT_GT(untold, 20);
}

TEST(Candidates, SumsOfRanksCombine) {
  double sum = 0;
  for (std::int64_t token = 0; token < kVocabulary; ++token) sum += std::exp(score_of(token));
  EXPECT_NEAR(sum_of({0, kVocabulary}).log(), std::log(sum), 1e-12);
  EXPECT_NEAR(combine(sum_of({0, 5}), sum_of({5, kVocabulary})).log(), std::log(sum), 1e-12);
  EXPECT_EQ(combine(sum_of({0, 5}), ExpSum()).log(), sum_of({0, 5}).log()) << "a rank without tokens";
  EXPECT_EQ(combine(ExpSum(), sum_of({0, 5})).log(), sum_of({0, 5}).log());
}

TEST(Candidates, ADrawIsOneOfThemAndTheSameEveryTime) {
  const std::vector<Candidate> best = best_of({0, kVocabulary}, 5);
  std::vector<int> drawn(kVocabulary, 0);
  for (std::int64_t position = 0; position < 300; ++position) {
    const Candidate token = draw(best, 7, position);
    EXPECT_EQ(token.token, draw(best, 7, position).token);
    ++drawn[static_cast<std::size_t>(token.token)];
  }
  for (const Candidate& candidate : best) EXPECT_GT(drawn[static_cast<std::size_t>(candidate.token)], 0);
  EXPECT_EQ(draw({}, 7, 0).token, -1);
}

TEST(Candidates, NoNoiseIsAboveWhatIsKnownOfIt) {
  for (int ones = 0; ones <= 64; ++ones) {
    const std::uint64_t begin = ones == 0 ? 0 : ~std::uint64_t{0} << (64 - ones);
    const std::uint64_t end =
        ones >= 63 ? ~std::uint64_t{0} : begin | (~std::uint64_t{0} >> (ones + 1));  // a zero behind
    for (const std::uint64_t bits : {begin, begin + (end - begin) / 2, end}) {
      EXPECT_LE(gumbel_noise(bits), most_gumbel_noise(bits)) << ones;
    }
    if (ones < 50) {
      EXPECT_NEAR(gumbel_noise(end), most_gumbel_noise(end), ones == 0 ? 0.4 : 0.25) << ones;
    }
  }
}

}  // namespace
}  // namespace sinkstream::kernels
