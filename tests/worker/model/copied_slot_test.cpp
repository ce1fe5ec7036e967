// Sessions that were copied, and sessions that went back, are bit by bit what they would be had they taken in
// their tokens and no others, alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/cache_geometry.h"
#include "tests/worker/model/support/checkpoint_files.h"
#include "tests/worker/model/support/rank_group.h"

namespace sinkstream {
namespace {

constexpr std::int64_t kVocabulary = 256;
constexpr std::int64_t kRing = 9;
constexpr std::int64_t kMostTokens = 2 * kRing + 2;  // the ring wraps twice
constexpr std::int64_t kGoOn = 2;                    // tokens that a session takes in after it went back

// Slots: a session that only goes forward, between two that must not change; copies of it.
constexpr int kBefore = 0, kOriginal = 1, kAfter = 2, kFirstCopy = 3;
constexpr int kMostCopies = kRing + 1;

struct Mode {
  std::string name;
  CacheWindow window;
  std::int64_t chunk;              // the most tokens of a step
  std::vector<std::int64_t> seen;  // when the session is copied, in ascending order

  // Every length that one of the copies can go back to.
  std::set<std::int64_t> lengths() const {
    std::set<std::int64_t> all;
    for (const std::int64_t count : seen) all.merge(lengths_from(count));
    return all;
  }
  std::set<std::int64_t> lengths_from(std::int64_t count) const {
    std::set<std::int64_t> lengths;
    for (std::int64_t length = 0; length <= count; ++length) {
      if (can_roll_back(count, length, window, kRing)) lengths.insert(length);
    }
    return lengths;
  }
};

std::vector<std::int64_t> up_to(std::int64_t most) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(most) + 1);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

// All cache modes, wherever the ring is; on an emulated GPU, which is slow, before and after it has wrapped.
std::vector<Mode> modes(const std::string& backend) {
  if (backend == "cuda-emulated") return {{"sink", {2, 5}, 5, {2, kRing + 1}}};
  return {{"dense", {0, kRing}, kRing, up_to(kRing - kGoOn)},
          {"window", {0, 5}, 5, up_to(kMostTokens)},
          {"sink", {2, 5}, 5, up_to(kMostTokens)},
          {"sinks that fill their room", {4, 3}, 7, up_to(kMostTokens)}};
}

std::vector<TokenId> tokens_of(std::uint32_t seed) {
  return random_tokens(kMostTokens + kGoOn, kVocabulary, seed);
}
const std::vector<TokenId> kText = tokens_of(1), kOther = tokens_of(2), kNeighbour = tokens_of(3);

std::span<const TokenId> part(const std::vector<TokenId>& tokens, std::int64_t first, std::int64_t count) {
  return std::span(tokens).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
}

using Values = std::vector<float>;

// Logits of `count` rows of a step, from `first` on.
Values rows_of(const Logits& logits, std::int64_t first, std::int64_t count) {
  Values values;
  for (std::int64_t row = first; row < first + count; ++row) {
    values.insert(values.end(), logits.of(row).begin(), logits.of(row).end());
  }
  return values;
}

class CopiedSlot
    : public testing::TestWithParam<std::tuple<std::string, std::string, int, kernels::CacheType>> {
 protected:
  static const std::string& backend() { return std::get<0>(GetParam()); }
  static GroupSettings settings() {
    const auto& [backend, checkpoint, ranks, type] = GetParam();
    return {.directory = golden_directory(checkpoint),
            .ranks = ranks,
            .cache = {.num_slots = kFirstCopy + kMostCopies,
                      .num_places = 2,
                      .sink_capacity = 4,
                      .ring_capacity = kRing,
                      .type = type},
            .max_rows = 32,
            .backend = backend};
  }
};

// For each length: the logits of what follows when a session takes in so much of kText, then some of kOther.
std::map<std::int64_t, Values> go_on_alone(TestRank& rank, const Mode& mode) {
  std::map<std::int64_t, Values> logits;
  for (const std::int64_t length : mode.lengths()) {
    rank.feed(kFirstCopy, part(kText, 0, length), 0, mode.window, mode.chunk);
    logits[length] = rank.feed(kFirstCopy, part(kOther, length, kGoOn), length, mode.window, kGoOn).values();
    rank.model().close_slot(kFirstCopy);
  }
  return logits;
}

Values all_alone(TestRank& rank, const Mode& mode, const std::vector<TokenId>& text) {
  const Values logits =
      rank.feed(kFirstCopy, part(text, 0, mode.seen.back()), 0, mode.window, mode.chunk).values();
  rank.model().close_slot(kFirstCopy);
  return logits;
}

// Within the cache or, every third, by way of two parking places.
void copy_original(TestRank& rank, int slot, std::int64_t seen) {
  if ((seen + slot) % 3 != 0) return rank.model().copy_slot(kOriginal, slot, seen);
  rank.model().save_slot(kOriginal, 0, seen);
  rank.model().copy_saved(0, 1, seen);
  rank.model().restore_slot(1, slot, seen);
}

// Copies a session that has taken in `seen` tokens, once for each length that it can go back to; all copies
// go back and on in one step. Their slots still hold earlier copies, but for every other one.
void copy_and_go_back(TestRank& rank, const Mode& mode, std::int64_t seen,
                      const std::map<std::int64_t, Values>& expected) {
  std::vector<ModelRow> rows;
  int slot = kFirstCopy;
  for (const std::int64_t length : mode.lengths_from(seen)) {
    if ((seen + slot) % 2 == 0) rank.model().close_slot(slot);
    copy_original(rank, slot, seen);
    const auto more = make_rows(slot++, part(kOther, length, kGoOn), length, mode.window);
    rows.insert(rows.end(), more.begin(), more.end());
  }
  const Logits logits = rank.step(rows);
  std::int64_t row = 0;
  for (const std::int64_t length : mode.lengths_from(seen)) {
    EXPECT_TRUE(rows_of(logits, row, kGoOn) == expected.at(length)) << "from " << seen << " to " << length;
    row += kGoOn;
  }
  ASSERT_GT(row, kGoOn * std::min(seen, roll_back_reach(mode.window, kRing)));
}

// What the sessions of slots that no copy goes to have put out.
using Sessions = std::map<int, Values>;
const std::vector<TokenId>& text_of(int slot) {
  return slot == kOriginal ? kText : kNeighbour;
}

// Takes in tokens [from, to) of each of them, in the same steps.
void take_in(TestRank& rank, const Mode& mode, std::int64_t from, std::int64_t to, Sessions& sessions) {
  for (std::int64_t begin = from; begin < to; begin += mode.chunk) {
    const std::int64_t count = std::min(mode.chunk, to - begin);
    std::vector<ModelRow> rows;
    for (const auto& [slot, values] : sessions) {
      const auto more = make_rows(slot, part(text_of(slot), begin, count), begin, mode.window);
      rows.insert(rows.end(), more.begin(), more.end());
    }
    const Logits logits = rank.step(rows);
    std::int64_t row = 0;
    for (auto& [slot, values] : sessions) {
      const Values more = rows_of(logits, std::exchange(row, row + count), count);
      values.insert(values.end(), more.begin(), more.end());
    }
  }
}

TEST_P(CopiedSlot, GoesOnFromEveryLengthThatItCanGoBackTo) {
  run_on_ranks(settings(), [](TestRank& rank) {
    for (const Mode& mode : modes(backend())) {
      SCOPED_TRACE(mode.name);
      const std::map<std::int64_t, Values> expected = go_on_alone(rank, mode);
      const Values original = all_alone(rank, mode, kText), neighbour = all_alone(rank, mode, kNeighbour);
      Sessions sessions = {{kBefore, {}}, {kOriginal, {}}, {kAfter, {}}};
      std::int64_t taken_in = 0;
      for (const std::int64_t seen : mode.seen) {
        take_in(rank, mode, std::exchange(taken_in, seen), seen, sessions);
        copy_and_go_back(rank, mode, seen, expected);
      }
      EXPECT_TRUE(sessions[kOriginal] == original) << "its copies changed it";
      EXPECT_TRUE(sessions[kBefore] == neighbour && sessions[kAfter] == neighbour) << "copies changed others";
      for (const auto& [slot, values] : sessions) rank.model().close_slot(slot);
    }
  });
}

using RolledBackSession = CopiedSlot;

// Without copies: on by some tokens of another text and back by as many, again and again, until the ring has
// wrapped.
TEST_P(RolledBackSession, GoesOnAndBackAgainAndAgain) {
  run_on_ranks(settings(), [](TestRank& rank) {
    for (const Mode& mode : modes(backend())) {
      SCOPED_TRACE(mode.name);
      const std::map<std::int64_t, Values> expected = go_on_alone(rank, mode);
      const std::int64_t on = std::min(roll_back_reach(mode.window, kRing), kGoOn);
      const auto size = static_cast<std::size_t>(on * kVocabulary);
      std::int64_t taken_in = 0;
      for (const auto& [length, logits] : expected) {
        rank.feed(kOriginal, part(kText, taken_in, length - taken_in), taken_in, mode.window, mode.chunk);
        const Values values =
            rank.feed(kOriginal, part(kOther, length, on), length, mode.window, on).values();
        EXPECT_TRUE(std::ranges::equal(values, std::span(logits).first(size))) << length;
        ASSERT_TRUE(can_roll_back(length + on, length, mode.window, kRing));
        taken_in = length;
      }
      rank.model().close_slot(kOriginal);
    }
  });
}

std::string copied_slot_case_name(const testing::TestParamInfo<CopiedSlot::ParamType>& test) {
  const auto& [backend, checkpoint, ranks, type] = test.param;
  return as_test_name(backend + "_" + checkpoint + "_" + std::to_string(ranks) + "_" +
                      std::string(name_of(type)));
}

using kernels::CacheType;
using Case = CopiedSlot::ParamType;

// Two KV heads: on one rank, and where two or more ranks have the same. ALiBi; one KV head that all ranks
// have; heads that turn in part.
const std::vector<Case> kCases = {{"cpu", "llama-gqa", 1, CacheType::f32},
                                  {"cpu", "llama-gqa", 3, CacheType::bf16},
                                  {"cpu", "llama-gqa", 3, CacheType::int8},
                                  {"reference", "llama-gqa", 1, CacheType::bf16},
                                  {"reference", "llama-gqa", 3, CacheType::f32},
                                  {"reference", "llama-gqa", 2, CacheType::int8},
                                  {"awkward", "llama-gqa", 1, CacheType::bf16},
                                  {"awkward", "llama-gqa", 3, CacheType::f32},
                                  {"cpu", "mpt", 3, CacheType::f32},
                                  {"cpu", "falcon-7b-style", 2, CacheType::bf16},
                                  {"cpu", "gpt-neox", 3, CacheType::f32}};
const std::vector<Case> kEmulatedCases = {{"cuda-emulated", "llama-gqa", 1, CacheType::bf16},
                                          {"cuda-emulated", "falcon-7b-style", 2, CacheType::f32}};

INSTANTIATE_TEST_SUITE_P(Cases, CopiedSlot, testing::ValuesIn(kCases), copied_slot_case_name);
INSTANTIATE_TEST_SUITE_P(Emulated, CopiedSlot, testing::ValuesIn(kEmulatedCases), copied_slot_case_name);
INSTANTIATE_TEST_SUITE_P(Cases, RolledBackSession, testing::ValuesIn(kCases), copied_slot_case_name);

}  // namespace
}  // namespace sinkstream
