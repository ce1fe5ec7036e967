#include "worker/engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <thread>

#include "parallel/communicator/in_process.h"

namespace sinkstream {
namespace {

using Counts = std::unordered_map<TokenId, std::int32_t>;

std::vector<float> random_logits(std::int64_t vocab, unsigned seed, float spread = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(static_cast<std::size_t>(vocab));
  for (float& logit : logits) logit = normal(random);
  return logits;
}

// Runs evaluate_logits on `ranks` ranks, each with its own columns, and returns rank 0's results; all must
// agree.
std::vector<TokenResult> evaluate_on(int ranks, const std::vector<std::vector<float>>& logits,
                                     const std::vector<LogitsTask>& tasks) {
  const auto vocab_size = std::ssize(logits.front());
  auto group = make_in_process_group(ranks);
  std::vector<std::vector<TokenResult>> results(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      const Range vocab = split_evenly(vocab_size, ranks, rank);
      std::vector<float> local;
      for (const auto& row : logits)
        local.insert(local.end(), row.begin() + vocab.begin, row.begin() + vocab.end);
      const kernels::ConstMatrix matrix{local.data(), std::ssize(logits), vocab.size()};
      results[static_cast<std::size_t>(rank)] =
          evaluate_logits(*group[static_cast<std::size_t>(rank)], matrix, vocab, vocab_size, tasks);
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& other : results) {
    for (std::size_t i = 0; i < other.size(); ++i) {
      EXPECT_EQ(other[i].token, results[0][i].token);
      EXPECT_EQ(other[i].logprob, results[0][i].logprob);
    }
  }
  return results[0];
}

TokenResult evaluate_one(int ranks, const std::vector<float>& logits, const LogitsTask& task) {
  return evaluate_on(ranks, {logits}, {task}).front();
}

// The whole-vocabulary definition, in the plainest way.
TokenId choose_plainly(std::vector<float> logits, const SamplingParams& sampling, const Counts& counts,
                       std::int64_t position) {
  for (const auto& [token, count] : counts) {
    float& logit = logits[static_cast<std::size_t>(token)];
    logit = logit > 0 ? logit / sampling.repetition_penalty : logit * sampling.repetition_penalty;
    logit -= sampling.presence_penalty + sampling.frequency_penalty * static_cast<float>(count);
  }
  for (const auto& [token, bias] : sampling.logit_bias) logits[static_cast<std::size_t>(token)] += bias;
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto logit_of = [&](TokenId token) { return logits[static_cast<std::size_t>(token)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](TokenId a, TokenId b) { return logit_of(a) > logit_of(b); });
  if (sampling.temperature == 0) return order.front();

  std::vector<double> scaled;
  for (const TokenId token : order)
    scaled.push_back(static_cast<double>(logit_of(token)) / static_cast<double>(sampling.temperature));
  std::size_t limit = order.size();
  if (sampling.top_k > 0) limit = std::min(limit, static_cast<std::size_t>(sampling.top_k));
  double total = 0;
  for (std::size_t i = 0; i < limit; ++i) total += std::exp(scaled[i] - scaled[0]);
  double mass = 0;
  double best_score = -INFINITY;
  TokenId best = -1;
  for (std::size_t i = 0; i < limit; ++i) {
    const double p = std::exp(scaled[i] - scaled[0]);
    if (i > 0 && sampling.top_p < 1 && mass >= static_cast<double>(sampling.top_p) * total) break;
    if (i > 0 && p < static_cast<double>(sampling.min_p)) break;
    mass += p;
    const double score = scaled[i] + gumbel_noise(sampling.seed, position, order[i]);
    if (score > best_score) {
      best_score = score;
      best = order[i];
    }
  }
  return best;
}

TEST(Sampler, GreedyTakesTheLargestAndTheFirstOfEquals) {
  std::vector<float> logits(101, 0.0f);
  logits[40] = logits[90] = 5.0f;
  SamplingParams greedy;
  greedy.temperature = 0;
  for (int ranks : {1, 2, 3, 7}) {
    EXPECT_EQ(evaluate_one(ranks, logits, {.sampling = &greedy}).token, 40) << ranks;
  }
}

TEST(Sampler, EveryCutEqualsTheWholeVocabularyDefinitionOnAnyRankCount) {
  std::mt19937 random(5);
  const Counts counts{{3, 2}, {50, 1}, {777, 4}};
  for (int round = 0; round < 300; ++round) {
    const auto logits = random_logits(1001, static_cast<unsigned>(round), round % 3 == 0 ? 0.2f : 3.0f);
    SamplingParams sampling;
    sampling.temperature = std::vector<float>{0.0f, 0.3f, 1.0f, 2.0f}[random() % 4];
    sampling.top_k = std::vector<std::int32_t>{0, 1, 5, 64, 100, 5000}[random() % 6];
    sampling.top_p = std::vector<float>{1.0f, 0.01f, 0.5f, 0.95f, 0.999f}[random() % 5];
    sampling.min_p = std::vector<float>{0.0f, 0.001f, 0.1f, 1.0f}[random() % 4];
    sampling.repetition_penalty = random() % 2 ? 1.3f : 1.0f;
    sampling.presence_penalty = random() % 2 ? 0.7f : 0.0f;
    sampling.frequency_penalty = random() % 2 ? -0.4f : 0.0f;
    sampling.seed = random();
    if (random() % 2) sampling.logit_bias = {{1000, 4.0f}, {0, -100.0f}};
    const std::int64_t position = static_cast<std::int64_t>(random()) << 8;
    const TokenId expected = choose_plainly(logits, sampling, counts, position);
    const LogitsTask task{.sampling = &sampling, .output_counts = &counts, .position = position};
    for (int ranks : {1, 2, 3}) {
      ASSERT_EQ(evaluate_one(ranks, logits, task).token, expected)
          << "round " << round << ", " << ranks << " ranks, temperature " << sampling.temperature
          << ", top_k " << sampling.top_k << ", top_p " << sampling.top_p << ", min_p " << sampling.min_p;
    }
  }
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  const std::vector<float> logits{std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  SamplingParams sampling;
  std::vector<int> seen(4, 0);
  constexpr int kDraws = 20'000;
  auto group = make_in_process_group(1);
  for (int i = 0; i < kDraws; ++i) {
    const LogitsTask task{.sampling = &sampling, .position = i};
    ++seen[static_cast<std::size_t>(
        evaluate_logits(*group[0], {logits.data(), 1, 4}, {0, 4}, 4, std::span(&task, 1)).front().token)];
  }
  // Four standard deviations of a binomial with p = 1/2.
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(seen[i] / static_cast<double>(kDraws), std::exp(static_cast<double>(logits[i])),
                4 * 0.5 / std::sqrt(kDraws))
        << i;
  }
}

TEST(Sampler, SeedAndPositionDecide) {
  const auto logits = random_logits(500, 9, 0.1f);
  const auto draw = [&](std::uint64_t seed, std::int64_t position) {
    SamplingParams sampling;
    sampling.seed = seed;
    return evaluate_one(2, logits, {.sampling = &sampling, .position = position}).token;
  };
  EXPECT_EQ(draw(1, 10), draw(1, 10));
  int differs = 0;
  for (int i = 0; i < 20; ++i) differs += draw(1, i) != draw(2, i);
  EXPECT_GT(differs, 10);
}

TEST(Sampler, LogprobsComeFromTheRawLogits) {
  const auto logits = random_logits(333, 4);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  SamplingParams sampling;
  sampling.temperature = 0.01f;
  sampling.logit_bias = {{17, 100.0f}};
  for (int ranks : {1, 2, 5}) {
    const auto chosen =
        evaluate_one(ranks, logits, {.sampling = &sampling, .logprobs = true, .top_logprobs = 4});
    EXPECT_EQ(chosen.token, 17);
    EXPECT_NEAR(chosen.logprob, static_cast<double>(logits[17]) - std::log(sum), 1e-5);
    ASSERT_EQ(chosen.top.size(), 4u);
    EXPECT_EQ(chosen.top[0].token, std::max_element(logits.begin(), logits.end()) - logits.begin());
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(chosen.top[i].logprob,
                  static_cast<double>(logits[static_cast<std::size_t>(chosen.top[i].token)]) - std::log(sum),
                  1e-5);
      if (i > 0) {
        EXPECT_GE(chosen.top[i - 1].logprob, chosen.top[i].logprob);
      }
    }
    const auto scored = evaluate_one(ranks, logits, {.target = 332, .top_logprobs = 1});
    EXPECT_EQ(scored.token, 332);
    EXPECT_NEAR(scored.logprob, static_cast<double>(logits[332]) - std::log(sum), 1e-5);
  }
}

TEST(Sampler, TheRankOfAScoredTokenIsItsPlaceInTheWholeVocabulary) {
  auto logits = random_logits(333, 12);
  logits[100] = logits[7] = logits[300];  // equal ones stand by their ids, as among the alternatives
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  for (int ranks : {1, 2, 5}) {
    for (const TokenId target : {0, 7, 100, 166, 300, 332}) {
      const auto place = std::find(order.begin(), order.end(), target) - order.begin() + 1;
      EXPECT_EQ(evaluate_one(ranks, logits, {.target = target}).rank, place) << target << " on " << ranks;
    }
    const auto both = evaluate_on(ranks, {logits, logits}, {{.target = order[4]}, {.target = order[330]}});
    EXPECT_EQ(both[0].rank, 5);
    EXPECT_EQ(both[1].rank, 331);
  }
}

TEST(Sampler, BannedTokensAreNeverChosen) {
  const auto logits = random_logits(50, 13, 0.1f);
  std::vector<TokenId> banned(49);
  std::iota(banned.begin(), banned.end(), 0);
  banned[20] = 49;  // 20 is left
  for (int ranks : {1, 3}) {
    for (const float temperature : {0.0f, 1.0f}) {
      for (const float top_p : {1.0f, 0.9f}) {
        SamplingParams sampling;
        sampling.temperature = temperature;
        sampling.top_p = top_p;
        sampling.logit_bias = {{3, 100.0f}};
        EXPECT_EQ(evaluate_one(ranks, logits, {.sampling = &sampling, .banned = banned}).token, 20);
      }
    }
  }
}

TEST(Sampler, MixedTasksOfOneStepDoNotInfluenceEachOther) {
  std::vector<std::vector<float>> logits;
  for (unsigned i = 0; i < 6; ++i) logits.push_back(random_logits(1003, 40 + i));
  std::vector<SamplingParams> sampling(6);
  sampling[0].temperature = 0;
  sampling[1].top_p = 0.9f;
  sampling[2].top_k = 40;
  sampling[3].min_p = 0.05f;
  sampling[5].top_p = 0.9999f;
  std::vector<LogitsTask> tasks;
  for (std::size_t i = 0; i < 6; ++i) {
    tasks.push_back({.sampling = i == 4 ? nullptr : &sampling[i],
                     .position = 100,
                     .target = 5,
                     .logprobs = true,
                     .top_logprobs = static_cast<std::int32_t>(i)});
  }
  const auto together = evaluate_on(3, logits, tasks);
  for (std::size_t i = 0; i < 6; ++i) {
    const auto alone = evaluate_one(3, logits[i], tasks[i]);
    EXPECT_EQ(together[i].token, alone.token) << i;
    EXPECT_EQ(together[i].logprob, alone.logprob) << i;
    EXPECT_EQ(together[i].top.size(), i);
  }
}

TEST(Sampler, LogitsThatAreNotFiniteChooseNothing) {
  const std::vector<float> logits(64, NAN);
  SamplingParams plain, cut;
  cut.top_p = 0.5f;
  EXPECT_EQ(evaluate_one(2, logits, {.sampling = &plain}).token, -1);
  EXPECT_EQ(evaluate_one(2, logits, {.sampling = &cut}).token, -1);
}

}  // namespace
}  // namespace sinkstream
