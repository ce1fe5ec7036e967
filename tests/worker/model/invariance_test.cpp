// A row's result is the same, bit for bit, whatever stands beside it in the step and however the text is cut.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>

#include "tests/worker/model/support/checkpoint_files.h"
#include "tests/worker/model/support/rank_group.h"

namespace sinkstream {
namespace {

using kernels::CacheType;

constexpr std::int64_t kSlack = 512;
constexpr std::int64_t kVocab = 256;

GroupSettings settings_for(const std::string& checkpoint, int ranks, CacheType type, int num_slots) {
  return {.directory = golden_directory(checkpoint),
          .ranks = ranks,
          .weights = type == CacheType::f32 ? kernels::WeightFormat::f32 : kernels::WeightFormat::bf16,
          .cache = {.num_slots = num_slots, .sink_capacity = 8, .ring_capacity = 40 + kSlack, .type = type},
          .max_rows = kSlack};
}

class Invariance : public testing::TestWithParam<std::tuple<std::string, int, CacheType>> {
 protected:
  GroupSettings settings(int num_slots) const {
    const auto& [checkpoint, ranks, type] = GetParam();
    return settings_for(checkpoint, ranks, type, num_slots);
  }
};

TEST_P(Invariance, PrefillChunksGiveTheSameBits) {
  const std::vector<TokenId> tokens = random_tokens(600, kVocab, 1);
  run_on_ranks(settings(1), [&](TestRank& rank) {
    for (const CacheWindow window : {CacheWindow{4, 28}, {0, 40}}) {
      const Logits one_by_one = rank.feed(0, tokens, 0, window, 1);
      for (const std::int64_t chunk : {7, 64, 512}) {
        rank.model().close_slot(0);
        const Logits chunked = rank.feed(0, tokens, 0, window, chunk);
        EXPECT_TRUE(chunked.values() == one_by_one.values()) << "chunk " << chunk;
      }
    }
  });
}

// Three sessions of different windows, taken in by pieces of changing lengths, all in the same steps.
TEST_P(Invariance, OtherSessionsInTheStepChangeNothing) {
  struct Text {
    std::vector<TokenId> tokens;
    CacheWindow window;
    std::size_t next = 0;
  };
  const std::vector<Text> all_texts = {{random_tokens(150, kVocab, 2), {4, 28}},
                                       {random_tokens(201, kVocab, 3), {0, 17}},
                                       {random_tokens(97, kVocab, 4), {8, 1}}};
  run_on_ranks(settings(3), [&](TestRank& rank) {
    std::vector<Text> texts = all_texts;
    std::vector<Logits> alone;
    for (const Text& text : texts) {
      alone.push_back(rank.feed(1, text.tokens, 0, text.window, 5));
      rank.model().close_slot(1);
    }
    std::vector<Logits> together(texts.size(), Logits(kVocab));
    const std::vector<std::size_t> pieces = {1, 33, 2, 7, 1, 1, 20};
    for (std::size_t turn = 0; std::ranges::any_of(texts, [](auto& t) { return t.next < t.tokens.size(); });
         ++turn) {
      std::vector<ModelRow> rows;
      for (std::size_t slot = 0; slot < texts.size(); ++slot) {
        Text& text = texts[slot];
        const std::size_t count =
            std::min(pieces[(turn + slot) % pieces.size()], text.tokens.size() - text.next);
        const auto piece = make_rows(static_cast<int>(slot), std::span(text.tokens).subspan(text.next, count),
                                     static_cast<std::int64_t>(text.next), text.window);
        rows.insert(rows.end(), piece.begin(), piece.end());
        text.next += count;
      }
      const Logits logits = rank.step(rows);
      for (std::size_t row = 0; row < rows.size(); ++row) {
        together[static_cast<std::size_t>(rows[row].slot)].append(logits.of(static_cast<std::int64_t>(row)));
      }
    }
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_TRUE(together[i].values() == alone[i].values()) << "session " << i;
    }
  });
}

std::string invariance_case_name(const testing::TestParamInfo<Invariance::ParamType>& test) {
  const auto& [checkpoint, ranks, type] = test.param;
  return as_test_name(checkpoint + "_" + std::to_string(ranks) + "_" + std::string(name_of(type)));
}

INSTANTIATE_TEST_SUITE_P(RanksAndTypes, Invariance,
                         testing::Combine(testing::Values("llama-gqa"), testing::Values(1, 3),
                                          testing::Values(CacheType::f32, CacheType::bf16, CacheType::int8)),
                         invariance_case_name);
INSTANTIATE_TEST_SUITE_P(Architectures, Invariance,
                         testing::Combine(testing::Values("mpt", "falcon-7b-style", "falcon-40b-style",
                                                          "gpt-neox"),
                                          testing::Values(3), testing::Values(CacheType::bf16)),
                         invariance_case_name);

}  // namespace
}  // namespace sinkstream
