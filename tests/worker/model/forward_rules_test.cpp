// What holds of a session's state: far positions, rolling back, a slot used again; and which rows are
// refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <stdexcept>
#include <string>

#include "tests/worker/model/support/checkpoint_files.h"
#include "tests/worker/model/support/reference.h"

namespace sinkstream {
namespace {

constexpr std::int64_t kLayers = 3;
constexpr std::int64_t kVocab = 256;

GroupSettings golden_settings(int ranks, const KvCacheSizes& cache,
                              const std::string& checkpoint = "llama-gqa") {
  return {.directory = golden_directory(checkpoint), .ranks = ranks, .cache = cache, .max_rows = 32};
}

// A state depends on the sinks and on the last layers * (W - 1) + 1 tokens only. So a session that leaps from
// its sinks to position 4,000,000 and takes in that many tokens there has the reference's state, whose keys
// are rotated anew at their places within the cache.
class FarAway : public testing::TestWithParam<std::string> {};

TEST_P(FarAway, PositionFourMillionEqualsExplicitRerotation) {
  const Reference reference = read_reference(golden_directory(GetParam()), "sink");
  const auto [sinks, window] = reference.window;
  const std::int64_t settled = sinks + kLayers * (window - 1) + 1;
  const std::int64_t leap = 4'000'000;
  run_on_ranks(golden_settings(2, cache_for(reference, 1, 32), GetParam()), [&](TestRank& rank) {
    const std::span<const TokenId> tokens = reference.tokens;
    Logits logits = rank.feed(0, tokens.first(static_cast<std::size_t>(sinks)), 0, reference.window, 4);
    logits.append(
        rank.feed(0, tokens.subspan(static_cast<std::size_t>(sinks)), leap + sinks, reference.window, 30)
            .values());
    for (std::int64_t i = settled; i < static_cast<std::int64_t>(reference.nll.size()); ++i) {
      const auto next = static_cast<std::size_t>(i) + 1;
      EXPECT_NEAR(negative_log_likelihood(logits.of(i), tokens[next]), reference.nll[next - 1], 5e-4) << i;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Architectures, FarAway, testing::ValuesIn(kGoldenArchitectures), name_of_checkpoint);

// One rank's group that counts its sums.
class CountingCommunicator : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_reduce_sum(std::span<float>) override { ++sums; }
  void broadcast(std::vector<std::byte>&) override {}
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    std::ranges::copy(mine, all.begin());
  }
  void barrier() override {}
  void abort(const std::string&) override {}

  std::int64_t sums = 0;
};

std::int64_t sums_of_a_step(const std::string& checkpoint) {
  CountingCommunicator communicator;
  TestRank rank(golden_settings(1, {.num_slots = 1, .sink_capacity = 4, .ring_capacity = 64}, checkpoint),
                communicator, communicator);
  rank.model().forward(make_rows(0, random_tokens(9, kVocab, 11), 0, {4, 28}));
  return communicator.sums;
}

TEST(ForwardRules, ParallelResidualsNeedOneSumALayer) {
  constexpr std::int64_t kEmbedding = 1;
  for (const char* checkpoint : {"falcon-7b-style", "falcon-40b-style", "gpt-neox"}) {
    EXPECT_EQ(sums_of_a_step(checkpoint), kEmbedding + kLayers) << checkpoint;
  }
  for (const char* checkpoint : {"llama-gqa", "mistral", "mpt"}) {
    EXPECT_EQ(sums_of_a_step(checkpoint), kEmbedding + 2 * kLayers) << checkpoint;
  }
}

TEST(ForwardRules, RollingBackWithinTheSlackIsExact) {
  const CacheWindow window{4, 20};
  const std::int64_t slack = 32;
  const KvCacheSizes cache{.num_slots = 2, .sink_capacity = 4, .ring_capacity = ring_capacity(20, slack)};
  const std::vector<TokenId> tokens = random_tokens(120, kVocab, 5);
  const std::vector<TokenId> others = random_tokens(40, kVocab, 6);
  run_on_ranks(golden_settings(1, cache), [&](TestRank& rank) {
    const std::size_t kept = tokens.size() - slack;
    rank.feed(0, tokens, 0, window, 16);
    const Logits rolled_back = rank.feed(0, others, static_cast<std::int64_t>(kept), window, 16);

    rank.feed(1, std::span(tokens).first(kept), 0, window, 16);
    const Logits direct = rank.feed(1, others, static_cast<std::int64_t>(kept), window, 16);
    EXPECT_TRUE(rolled_back.values() == direct.values());
  });
}

TEST(ForwardRules, ASlotUsedAgainRemembersNothing) {
  const CacheWindow window{4, 20};
  const KvCacheSizes cache{.num_slots = 1, .sink_capacity = 4, .ring_capacity = ring_capacity(20, 32)};
  const std::vector<TokenId> tokens = random_tokens(50, kVocab, 7);
  run_on_ranks(golden_settings(2, cache), [&](TestRank& rank) {
    const Logits first = rank.feed(0, tokens, 0, window, 16);
    rank.feed(0, random_tokens(90, kVocab, 8), 0, window, 16);
    EXPECT_TRUE(rank.feed(0, tokens, 0, window, 16).values() == first.values()) << "without release";
    rank.model().close_slot(0);
    EXPECT_TRUE(rank.feed(0, tokens, 0, window, 16).values() == first.values()) << "after release";
  });
}

// Sinks that have left the window still count: another first token gives other logits far behind the window.
TEST(ForwardRules, SinksAreAttendedAndWindowsForget) {
  const KvCacheSizes cache{.num_slots = 1, .sink_capacity = 4, .ring_capacity = ring_capacity(8, 32)};
  std::vector<TokenId> tokens = random_tokens(100, kVocab, 9);
  run_on_ranks(golden_settings(1, cache), [&](TestRank& rank) {
    const auto last_logits = [&](const CacheWindow& window) {
      const Logits logits = rank.feed(0, tokens, 0, window, 16);
      return std::vector<float>(logits.of(99).begin(), logits.of(99).end());
    };
    tokens[0] = 1;
    const auto with_sinks = last_logits({4, 8});
    const auto without = last_logits({0, 8});
    tokens[0] = 2;
    EXPECT_NE(last_logits({4, 8}), with_sinks);
    EXPECT_EQ(last_logits({0, 8}), without);
  });
}

TEST(ForwardRules, LogitsOfSelectedRowsEqualThoseOfAll) {
  const KvCacheSizes cache{.num_slots = 1, .sink_capacity = 4, .ring_capacity = 64};
  const auto rows = make_rows(0, random_tokens(9, kVocab, 10), 0, {4, 28});
  run_on_ranks(golden_settings(1, cache), [&](TestRank& rank) {
    const Logits all = rank.step(rows);
    rank.model().forward(rows);
    const std::vector<std::int32_t> selected = {8, 0, 3, 3};
    std::vector<float> some(selected.size() * kVocab);
    const kernels::ConstMatrix logits = rank.model().logits(selected);
    kernels::Backend& backend = rank.model().backend();
    backend.download(logits.data, std::as_writable_bytes(std::span(some)));
    backend.wait(backend.mark());
    for (std::size_t i = 0; i < selected.size(); ++i) {
      EXPECT_TRUE(std::ranges::equal(std::span(some).subspan(i * kVocab, kVocab), all.of(selected[i])));
    }
    EXPECT_EQ(rank.model().logits({}).rows, 0);
    const std::vector<std::int32_t> beyond = {9};
    EXPECT_THROW(rank.model().logits(beyond), std::invalid_argument);
    const std::vector<std::int32_t> too_many(kOutputsAtOnce + 1, 0);
    EXPECT_THROW(rank.model().logits(too_many), std::invalid_argument);
  });
}

}  // namespace
}  // namespace sinkstream
