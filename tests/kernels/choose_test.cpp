#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <unordered_map>

#include "kernels/gumbel_noise.h"
#include "parallel/shard_plan.h"
#include "tests/kernels/on_device.h"

namespace sinkstream::kernels {
namespace {

using Counts = std::unordered_map<TokenId, std::int32_t>;

std::vector<float> random_logits(std::int64_t vocab, unsigned seed, float spread = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(static_cast<std::size_t>(vocab));
  for (float& logit : logits) logit = normal(random);
  return logits;
}

// What is wanted of a row of logits. Rows that choose have a slot each, opened with their parameters.
struct Wanted {
  SamplingParams sampling;
  ChoiceTask task;
  // Chosen in the slot before.
  std::vector<TokenId> chosen_before = {};
};

// This rank's columns of some rows.
Tensor columns_of(const std::vector<std::vector<float>>& logits, Range vocab) {
  Tensor local(std::ssize(logits), vocab.size());
  for (std::int64_t r = 0; r < local.rows; ++r) {
    std::ranges::copy(std::span(logits[r]).subspan(vocab.begin, vocab.size()), local.row(r).begin());
  }
  return local;
}

std::vector<Choice> choose_on(Backend& backend, const std::vector<std::vector<float>>& logits, Range vocab,
                              const std::vector<ChoiceTask>& tasks, SlotStates& states) {
  const DeviceTensor local(backend, columns_of(logits, vocab));
  const OnDevice<ChoiceTask> wanted(backend, tasks);
  const OnDevice<Choice> out(backend, std::vector<Choice>(tasks.size()));
  backend.choose(local, vocab, std::ssize(logits.front()), wanted, states, out);
  return out.read();
}

// One rank alone; turn i begins in slot i with the i-th sampling.
std::vector<Choice> choose_in_turns(Backend& backend, const std::vector<std::vector<float>>& logits,
                                    const std::vector<SamplingParams>& ways,
                                    const std::vector<ChoiceTask>& tasks) {
  const std::int64_t vocab_size = std::ssize(logits.front());
  const auto states = backend.make_slot_states(static_cast<std::int32_t>(tasks.size()), vocab_size);
  for (std::size_t i = 0; i < ways.size(); ++i) {
    backend.begin_turn(static_cast<std::int32_t>(i), ways[i], *states);
  }
  return choose_on(backend, logits, {0, vocab_size}, tasks, *states);
}

// Makes the backend choose these tokens in a slot, one after the other.
void choose_before(Backend& backend, std::int32_t slot, const std::vector<TokenId>& tokens, Range vocab,
                   std::int64_t vocab_size, SlotStates& states) {
  for (const TokenId token : tokens) {
    std::vector<float> logits(static_cast<std::size_t>(vocab_size), -1e6f);
    logits[static_cast<std::size_t>(token)] = 1e6f;
    const auto chosen = choose_on(backend, {logits}, vocab, {{.slot = slot}}, states);
    ASSERT_EQ(chosen[0].token, token);
  }
}

class Choose : public OnEveryBackend {
 protected:
  // On `ranks` ranks, each with its own columns; all must agree.
  std::vector<Choice> choose_on_ranks(int ranks, const std::vector<std::vector<float>>& logits,
                                      std::vector<Wanted> wanted) const {
    const auto vocab_size = std::ssize(logits.front());
    std::vector<std::vector<Choice>> results(static_cast<std::size_t>(ranks));
    on_ranks(ranks, [&](Backend& mine, int rank) {
      const Range vocab = split_evenly(vocab_size, ranks, rank);
      const auto states = mine.make_slot_states(static_cast<std::int32_t>(wanted.size()), vocab_size);
      std::vector<ChoiceTask> tasks;
      for (std::int32_t slot = 0; slot < std::ssize(wanted); ++slot) {
        mine.begin_turn(slot, wanted[slot].sampling, *states);
        choose_before(mine, slot, wanted[slot].chosen_before, vocab, vocab_size, *states);
        tasks.push_back(wanted[slot].task);
        tasks.back().slot = slot;
      }
      results[static_cast<std::size_t>(rank)] = choose_on(mine, logits, vocab, tasks, *states);
    });
    for (const auto& other : results) {
      for (std::size_t i = 0; i < other.size(); ++i) {
        EXPECT_EQ(other[i].token, results[0][i].token);
        EXPECT_EQ(other[i].logprob, results[0][i].logprob);
        EXPECT_EQ(other[i].rank, results[0][i].rank);
      }
    }
    return results[0];
  }

  Choice choose_one(int ranks, const std::vector<float>& logits, const Wanted& wanted) const {
    return choose_on_ranks(ranks, {logits}, {wanted}).front();
  }
};

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

TEST_P(Choose, GreedyTakesTheLargestAndTheFirstOfEquals) {
  std::vector<float> logits(101, 0.0f);
  logits[40] = logits[90] = 5.0f;
  for (int ranks : {1, 2, 3, 7}) {
    EXPECT_EQ(choose_one(ranks, logits, {{.temperature = 0}, {}}).token, 40) << ranks;
  }
}

TEST_P(Choose, EveryCutEqualsTheWholeVocabularyDefinitionOnAnyRankCount) {
  std::mt19937 random(5);
  const Counts counts{{3, 2}, {50, 1}, {777, 4}};
  const std::vector<TokenId> chosen_before = {777, 3, 777, 50, 777, 3, 777};
  for (int round = 0; round < 100; ++round) {
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
    const Wanted wanted{sampling, {.position = position}, chosen_before};
    for (int ranks : {1, 2, 3}) {
      ASSERT_EQ(choose_one(ranks, logits, wanted).token, expected)
          << "round " << round << ", " << ranks << " ranks, temperature " << sampling.temperature
          << ", top_k " << sampling.top_k << ", top_p " << sampling.top_p << ", min_p " << sampling.min_p;
    }
  }
}

TEST_P(Choose, FrequenciesFollowTheSoftmax) {
  const std::vector<float> logits{std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  constexpr int kDraws = 20'000, kAtOnce = 1000;
  const auto states = backend().make_slot_states(1, 4);
  backend().begin_turn(0, {}, *states);
  std::vector<int> seen(4, 0);
  for (int first = 0; first < kDraws; first += kAtOnce) {
    std::vector<ChoiceTask> tasks;
    for (int i = first; i < first + kAtOnce; ++i) tasks.push_back({.position = i});
    const std::vector<std::vector<float>> rows(kAtOnce, logits);
    for (const Choice& choice : choose_on(backend(), rows, {0, 4}, tasks, *states)) {
      ++seen[static_cast<std::size_t>(choice.token)];
    }
  }
  // Four standard deviations of a binomial with p = 1/2.
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(seen[i] / static_cast<double>(kDraws), std::exp(static_cast<double>(logits[i])),
                4 * 0.5 / std::sqrt(kDraws))
        << i;
  }
}

TEST_P(Choose, SeedAndPositionDecide) {
  const auto logits = random_logits(500, 9, 0.1f);
  const auto draw = [&](std::uint64_t seed, std::int64_t position) {
    return choose_one(2, logits, {{.seed = seed}, {.position = position}}).token;
  };
  EXPECT_EQ(draw(1, 10), draw(1, 10));
  int differs = 0;
  for (int i = 0; i < 20; ++i) differs += draw(1, i) != draw(2, i);
  EXPECT_GT(differs, 10);
}

TEST_P(Choose, LogprobsComeFromTheRawLogits) {
  const auto logits = random_logits(333, 4);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  const SamplingParams sampling{.temperature = 0.01f, .logit_bias = {{17, 100.0f}}};
  for (int ranks : {1, 2, 5}) {
    const Choice chosen = choose_one(ranks, logits, {sampling, {.logprobs = true, .top_logprobs = 4}});
    EXPECT_EQ(chosen.token, 17);
    EXPECT_NEAR(chosen.logprob, static_cast<double>(logits[17]) - std::log(sum), 1e-5);
    ASSERT_EQ(chosen.top_count, 4);
    EXPECT_EQ(chosen.top[0].token, std::max_element(logits.begin(), logits.end()) - logits.begin());
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(chosen.top[i].logprob,
                  static_cast<double>(logits[static_cast<std::size_t>(chosen.top[i].token)]) - std::log(sum),
                  1e-5);
      if (i > 0) {
        EXPECT_GE(chosen.top[i - 1].logprob, chosen.top[i].logprob);
      }
    }
    const Choice scored =
        choose_one(ranks, logits, {{}, {.sample = false, .top_logprobs = 1, .target = 332}});
    EXPECT_EQ(scored.token, 332);
    EXPECT_NEAR(scored.logprob, static_cast<double>(logits[332]) - std::log(sum), 1e-5);
    EXPECT_EQ(scored.top_count, 1);
  }
}

TEST_P(Choose, AsManyAlternativesAsTheVocabularyHas) {
  const Choice all =
      choose_one(2, random_logits(7, 4), {{}, {.logprobs = true, .top_logprobs = kMaxTopLogprobs}});
  EXPECT_EQ(all.top_count, 7);
  const Choice most =
      choose_one(2, random_logits(70, 4), {{}, {.logprobs = true, .top_logprobs = kMaxTopLogprobs}});
  EXPECT_EQ(most.top_count, kMaxTopLogprobs);
}

TEST_P(Choose, TheRankOfAScoredTokenIsItsPlaceInTheWholeVocabulary) {
  auto logits = random_logits(333, 12);
  logits[100] = logits[7] = logits[300];  // equal ones stand by their ids, as among the alternatives
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  const auto scoring = [](TokenId target) { return Wanted{{}, {.sample = false, .target = target}}; };
  for (int ranks : {1, 2, 5}) {
    for (const TokenId target : {0, 7, 100, 166, 300, 332}) {
      const auto place = std::find(order.begin(), order.end(), target) - order.begin() + 1;
      EXPECT_EQ(choose_one(ranks, logits, scoring(target)).rank, place) << target << " on " << ranks;
    }
    const auto both = choose_on_ranks(ranks, {logits, logits}, {scoring(order[4]), scoring(order[330])});
    EXPECT_EQ(both[0].rank, 5);
    EXPECT_EQ(both[1].rank, 331);
  }
}

TEST_P(Choose, EndTokensAreBannedUntilThereAreEnoughTokens) {
  const auto logits = random_logits(50, 13, 0.1f);
  std::vector<TokenId> ends(49);
  std::iota(ends.begin(), ends.end(), 0);
  ends[20] = 49;  // 20 is left
  for (int ranks : {1, 3}) {
    for (const float temperature : {0.0f, 1.0f}) {
      for (const float top_p : {1.0f, 0.9f}) {
        SamplingParams sampling;
        sampling.temperature = temperature;
        sampling.top_p = top_p;
        sampling.logit_bias = {{3, 100.0f}};
        sampling.end_tokens = ends;
        sampling.min_tokens = 3;
        EXPECT_EQ(choose_one(ranks, logits, {sampling, {}, {20, 20}}).token, 20) << "the third";
        EXPECT_EQ(choose_one(ranks, logits, {sampling, {}, {20, 20, 20}}).token, 3) << "the fourth";
        sampling.min_tokens = 0;
        EXPECT_EQ(choose_one(ranks, logits, {sampling, {}}).token, 3);
      }
    }
  }
}

TEST_P(Choose, MixedTasksOfOneStepDoNotInfluenceEachOther) {
  std::vector<std::vector<float>> logits;
  for (unsigned i = 0; i < 6; ++i) logits.push_back(random_logits(1003, 40 + i));
  std::vector<Wanted> wanted(6);
  wanted[0].sampling.temperature = 0;
  wanted[1].sampling.top_p = 0.9f;
  wanted[2].sampling.top_k = 40;
  wanted[3].sampling.min_p = 0.05f;
  wanted[5].sampling.top_p = 0.9999f;
  for (std::size_t i = 0; i < 6; ++i) {
    wanted[i].task = {.sample = i != 4,
                      .logprobs = true,
                      .top_logprobs = static_cast<std::int32_t>(i),
                      .target = 5,
                      .position = 100};
  }
  const auto together = choose_on_ranks(3, logits, wanted);
  for (std::size_t i = 0; i < 6; ++i) {
    const Choice alone = choose_one(3, logits[i], wanted[i]);
    EXPECT_EQ(together[i].token, alone.token) << i;
    EXPECT_EQ(together[i].logprob, alone.logprob) << i;
    EXPECT_EQ(together[i].top_count, static_cast<std::int32_t>(i));
  }
}

TEST_P(Choose, LogitsThatAreNotFiniteChooseNothing) {
  const std::vector<float> logits(64, NAN);
  EXPECT_EQ(choose_one(2, logits, {}).token, -1);
  EXPECT_EQ(choose_one(2, logits, {{.top_p = 0.5f}, {}}).token, -1);
}

TEST_P(Choose, NoTasksAreNoWork) {
  const auto states = backend().make_slot_states(1, 10);
  const DeviceTensor logits(backend(), 0, 10);
  backend().choose(logits, {0, 10}, 10, {}, *states, {});
  wait_for_all(backend());
}

// Makes the slots choose `tokens`, then asks for the last of each row's slot.
TEST_P(Choose, ALastChosenTokenNeedNotHaveBeenSeen) {
  const std::int64_t vocab_size = 30;
  const auto states = backend().make_slot_states(3, vocab_size);
  for (std::int32_t slot = 0; slot < 3; ++slot) backend().begin_turn(slot, {}, *states);
  const auto take = [&](const std::vector<std::int32_t>& slots, const std::vector<std::int32_t>& tokens) {
    const OnDevice<std::int32_t> of_rows(backend(), slots), taken(backend(), tokens);
    backend().take_last_chosen(of_rows, *states, taken);
    return taken.read();
  };
  using Tokens = std::vector<std::int32_t>;
  choose_before(backend(), 0, {5, 7}, {0, vocab_size}, vocab_size, *states);
  choose_before(backend(), 2, {9}, {0, vocab_size}, vocab_size, *states);
  EXPECT_EQ(take({2, 0, 0, 1}, {kLastChosen, 11, kLastChosen, 3}), (Tokens{9, 11, 7, 3}));

  // Scoring chooses nothing.
  choose_on(backend(), {std::vector<float>(30, 1.0f)}, {0, vocab_size},
            {{.sample = false, .slot = 2, .target = 4}}, *states);
  EXPECT_EQ(take({2}, {kLastChosen}), (Tokens{9}));

  // A new turn starts over.
  backend().end_turn(0, *states);
  backend().begin_turn(0, {}, *states);
  EXPECT_EQ(take({0, 2}, {kLastChosen, kLastChosen}), (Tokens{-1, 9}));
}

TEST_P(Choose, ATurnsPenaltiesCountThatTurnAlone) {
  const auto states = backend().make_slot_states(2, 10);
  const SamplingParams sampling{.temperature = 0, .presence_penalty = 2.0f};
  std::vector<float> logits(10, 0.0f);
  logits[4] = 1.5f;
  logits[6] = 1.0f;
  const auto choose = [&](std::int32_t slot) {
    return choose_on(backend(), {logits}, {0, 10}, {{.slot = slot}}, *states)[0].token;
  };
  backend().begin_turn(0, sampling, *states);
  backend().begin_turn(1, sampling, *states);
  EXPECT_EQ(choose(0), 4);
  EXPECT_EQ(choose(0), 6);
  EXPECT_EQ(choose(1), 4) << "another slot has counts of its own";
  backend().end_turn(0, *states);
  backend().begin_turn(0, sampling, *states);
  EXPECT_EQ(choose(0), 4) << "so has another turn";
}

TEST_P(Choose, PenaltiesMayCountTheNewestTokensAlone) {
  std::vector<float> logits(10, 0.0f);
  logits[4] = 1.5f;
  logits[6] = 1.0f;
  const auto chosen = [&](SamplingParams sampling) {
    const auto states = backend().make_slot_states(1, 10);
    sampling.temperature = 0;
    sampling.presence_penalty = 2.0f;
    backend().begin_turn(0, sampling, *states);
    std::vector<TokenId> tokens;
    for (int i = 0; i < 4; ++i)
      tokens.push_back(choose_on(backend(), {logits}, {0, 10}, {{.slot = 0}}, *states)[0].token);
    return tokens;
  };
  using Tokens = std::vector<TokenId>;
  EXPECT_EQ(chosen({.repeat_last_n = -1}), (Tokens{4, 6, 0, 1}));
  EXPECT_EQ(chosen({.repeat_last_n = 0}), (Tokens{4, 4, 4, 4}));
  EXPECT_EQ(chosen({.repeat_last_n = 1}), (Tokens{4, 6, 4, 6}));
  EXPECT_EQ(chosen({.repeat_last_n = 2, .earlier_output = {6, 4}}), (Tokens{0, 6, 4, 0}));
  EXPECT_EQ(chosen({.repeat_last_n = 1, .end_tokens = {6}}), (Tokens{4, 6, 6, 6})) << "ends do not count";
}

// Logits of one row, of a kind that is hard on what sorts and sums them.
std::vector<float> awkward_logits(std::int64_t vocab, int kind, std::mt19937& random) {
  auto logits = random_logits(vocab, static_cast<unsigned>(random()), kind == 0 ? 100.0f : 3.0f);
  for (float& logit : logits) {
    switch (kind) {
      case 1:  // many of them equal
        logit = std::round(logit);
        break;
      case 2:  // all of them
        logit = 1.5f;
        break;
      case 3:
        if (random() % 3 == 0) logit = -INFINITY;
        break;
      case 4:
        if (random() % 50 == 0) logit = INFINITY;
        break;
      case 5:
        logit = -INFINITY;
        break;
      case 6:  // both zeros, and what is next to them
        logit = std::vector<float>{0.0f, -0.0f, 1e-40f, -1e-40f}[random() % 4];
        break;
    }
  }
  return logits;
}

SamplingParams awkward_sampling(std::int64_t vocab, std::mt19937& random) {
  const auto token = [&] { return static_cast<TokenId>(random() % static_cast<std::uint64_t>(vocab)); };
  SamplingParams sampling;
  sampling.temperature = std::vector<float>{0.0f, 1e-30f, 0.3f, 1.0f, 50.0f}[random() % 5];
  sampling.top_k = std::vector<std::int32_t>{0, 0, 1, 2, 50, 300, 100'000}[random() % 7];
  sampling.top_p = std::vector<float>{1.0f, 1.0f, 1e-20f, 0.5f, 0.9f, 0.999f}[random() % 6];
  sampling.min_p = std::vector<float>{0.0f, 0.0f, 0.01f, 1.0f}[random() % 4];
  sampling.repetition_penalty = random() % 2 ? 1.3f : 1.0f;
  sampling.frequency_penalty = random() % 2 ? 0.31f : 0.0f;
  sampling.repeat_last_n = std::vector<std::int32_t>{-1, 0, 1, 7, 5000}[random() % 5];
  sampling.seed = random();
  sampling.min_tokens = static_cast<std::int64_t>(random() % 3);
  for (auto left = random() % 4; left > 0; --left) sampling.end_tokens.push_back(token());
  for (auto left = std::max(sampling.repeat_last_n, 0) * (random() % 2); left > 0; --left) {
    sampling.earlier_output.push_back(token());
  }
  if (random() % 2) {  // of all tokens
    for (TokenId t = 0; t < vocab; ++t) sampling.logit_bias.emplace_back(t, static_cast<float>(t % 5) * 0.3f);
  }
  return sampling;
}

TEST_P(Choose, AwkwardLogitsChooseWhatTheyDoOnTheReference) {
  std::mt19937 random(11);
  constexpr std::int32_t kSlots = 2, kOutputs = 3;
  for (int round = 0; round < 60; ++round) {
    const auto vocab = std::vector<std::int64_t>{1, 2, 33, 257, 2049, 5000}[random() % 6];
    const auto states = backend().make_slot_states(kSlots, vocab);
    const auto expected_states = reference().make_slot_states(kSlots, vocab);
    for (std::int32_t slot = 0; slot < kSlots; ++slot) {
      const SamplingParams sampling = awkward_sampling(vocab, random);
      backend().begin_turn(slot, sampling, *states);
      reference().begin_turn(slot, sampling, *expected_states);
    }
    for (int step = 0; step < 3; ++step) {
      std::vector<std::vector<float>> logits;
      std::vector<ChoiceTask> tasks;
      for (std::int32_t i = 0; i < kOutputs; ++i) {  // two of them of the same slot
        logits.push_back(awkward_logits(vocab, static_cast<int>(random() % 8), random));
        tasks.push_back({.sample = random() % 4 != 0,
                         .logprobs = true,
                         .slot = i % kSlots,
                         .top_logprobs = std::vector<std::int32_t>{0, 1, kMaxTopLogprobs}[random() % 3],
                         .target = static_cast<TokenId>(random() % static_cast<std::uint64_t>(vocab)),
                         .position = static_cast<std::int64_t>(random())});
      }
      const auto chosen = choose_on(backend(), logits, {0, vocab}, tasks, *states);
      const auto expected = choose_on(reference(), logits, {0, vocab}, tasks, *expected_states);
      for (std::size_t i = 0; i < kOutputs; ++i) {
        SCOPED_TRACE(testing::Message() << "round " << round << ", step " << step << ", output " << i
                                        << " of " << vocab << " tokens");
        const auto expect_same = [](float actual, float wanted) {
          if (std::isfinite(wanted)) {
            EXPECT_NEAR(actual, wanted, 1e-6 * std::max(1.0f, std::abs(wanted)));
          } else {
            EXPECT_EQ(std::isnan(actual), std::isnan(wanted));
          }
        };
        ASSERT_EQ(chosen[i].token, expected[i].token);
        expect_same(chosen[i].logprob, expected[i].logprob);
        EXPECT_EQ(chosen[i].rank, expected[i].rank);
        ASSERT_EQ(chosen[i].top_count, expected[i].top_count);
        for (std::int32_t k = 0; k < expected[i].top_count; ++k) {
          EXPECT_EQ(chosen[i].top[k].token, expected[i].top[k].token) << k;
          expect_same(chosen[i].top[k].logprob, expected[i].top[k].logprob);
        }
      }
    }
  }
}

// What is no number is never chosen, and shows in what is said of its row.
TEST_P(Choose, NotANumberIsNeverChosenAndShows) {
  constexpr std::int64_t kVocab = 5'000;
  const std::vector<SamplingParams> ways = {{.temperature = 0},
                                            {.seed = 1},
                                            {.top_k = 50, .seed = 2},
                                            {.top_k = 100'000, .seed = 3},
                                            {.min_p = 0.01f}};
  for (const std::int64_t every : {1, 2, 70, 4'999}) {
    std::vector<std::vector<float>> logits;
    std::vector<ChoiceTask> tasks;
    for (std::size_t i = 0; i <= ways.size(); ++i) {
      logits.push_back(random_logits(kVocab, 5 + static_cast<unsigned>(i), 3));
      for (std::int64_t t = every - 1; t < kVocab; t += every) logits[i][static_cast<std::size_t>(t)] = NAN;
      tasks.push_back(
          {.logprobs = true, .slot = static_cast<std::int32_t>(i), .top_logprobs = 3, .position = 7});
    }
    tasks.back() = {.sample = false, .target = 9};
    const auto choices = [&](Backend& on) { return choose_in_turns(on, logits, ways, tasks); };
    const auto actual = choices(backend());
    const auto expected = choices(reference());
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "one of " << every << ", row " << i);
      EXPECT_EQ(actual[i].token, expected[i].token);
      EXPECT_EQ(actual[i].rank, expected[i].rank);
      EXPECT_EQ(actual[i].top_count, expected[i].top_count);
      EXPECT_EQ(std::isnan(actual[i].logprob), actual[i].token >= 0);
    }
  }
}

// Several blocks of a row, and more candidates than there are strips of it.
TEST_P(Choose, ALargeVocabularyGivesTheSameOnAnyNumberOfThreads) {
  constexpr std::int64_t kVocab = 13'001;
  const std::vector<SamplingParams> ways = {
      {.temperature = 0},
      {.temperature = 0, .repetition_penalty = 1.3f, .logit_bias = {{7, 2.0f}, {13'000, 5.0f}}},
      {.seed = 1},
      {.temperature = 0.7f, .seed = 2},
      {.top_k = 50, .seed = 3},
      {.top_k = 700, .seed = 4},
      {.top_k = 13'001, .top_p = 0.9f, .seed = 5},
      {.top_p = 0.95f, .seed = 6},
      {.min_p = 0.01f, .seed = 7}};
  for (const float spread : {0.0f, 0.1f, 3.0f, 30.0f}) {
    std::vector<std::vector<float>> logits;
    std::vector<ChoiceTask> tasks;
    for (std::size_t i = 0; i <= ways.size(); ++i) {
      logits.push_back(random_logits(kVocab, 5 + static_cast<unsigned>(i), spread));
      tasks.push_back({.logprobs = i % 2 == 0,
                       .slot = static_cast<std::int32_t>(i),
                       .top_logprobs = i % 3 == 0 ? kMaxTopLogprobs : 0,
                       .position = 41});
    }
    tasks.back() = {.sample = false, .top_logprobs = 3, .target = 9'000};
    const auto choices = [&](Backend& on) { return choose_in_turns(on, logits, ways, tasks); };
    const auto expected = choices(reference());
    const auto one = choices(*on_threads(1));
    for (const int threads : thread_counts()) {
      const auto actual = choices(*on_threads(threads));
      for (std::size_t i = 0; i < tasks.size(); ++i) {
        SCOPED_TRACE(testing::Message() << "spread " << spread << ", row " << i << ", threads " << threads);
        EXPECT_EQ(actual[i].token, expected[i].token);
        EXPECT_EQ(actual[i].rank, expected[i].rank);
        EXPECT_NEAR(actual[i].logprob, expected[i].logprob, 1e-6 * (1 + std::abs(expected[i].logprob)));
        EXPECT_EQ(actual[i].logprob, one[i].logprob);
        ASSERT_EQ(actual[i].top_count, expected[i].top_count);
        for (std::int32_t k = 0; k < expected[i].top_count; ++k) {
          EXPECT_EQ(actual[i].top[k].token, expected[i].top[k].token);
          EXPECT_EQ(actual[i].top[k].logprob, one[i].top[k].logprob);
        }
      }
    }
  }
}

// The best of 3,000 scores is found among those that need not be computed.
TEST_P(Choose, EverySeedSamplesWhatItDoesOnTheReference) {
  constexpr std::int64_t kVocab = 3'000;
  const std::vector<std::vector<float>> logits(50, random_logits(kVocab, 31, 1));
  std::vector<ChoiceTask> tasks;
  for (std::int64_t i = 0; i < std::ssize(logits); ++i) tasks.push_back({.position = i});
  const auto states = backend().make_slot_states(1, kVocab);
  const auto expected_states = reference().make_slot_states(1, kVocab);
  const auto actual = choose_on(backend(), logits, {0, kVocab}, tasks, *states);
  const auto expected = choose_on(reference(), logits, {0, kVocab}, tasks, *expected_states);
  for (std::size_t i = 0; i < tasks.size(); ++i) EXPECT_EQ(actual[i].token, expected[i].token) << i;
}

INSTANTIATE_ON_EVERY_BACKEND(Choose);

}  // namespace
}  // namespace sinkstream::kernels
