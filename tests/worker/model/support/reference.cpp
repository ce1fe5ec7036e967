#include "tests/worker/model/support/reference.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/worker/model/support/checkpoint_files.h"

namespace sinkstream {
namespace {

constexpr double kNllTolerance = 1e-4;
constexpr float kLogitTolerance = 1e-4f;

std::vector<TokenId> greedy_tokens(TestRank& rank, int slot, const Reference& reference) {
  std::vector<TokenId> tokens(reference.greedy.begin(), reference.greedy.begin() + reference.prompt_tokens);
  Logits logits = rank.feed(slot, tokens, 0, reference.window, 16);
  while (true) {
    tokens.push_back(most_likely(logits.of(logits.tokens() - 1)));
    if (tokens.size() >= reference.greedy.size()) return tokens;
    const auto position = static_cast<std::int64_t>(tokens.size()) - 1;
    logits = rank.feed(slot, std::span(tokens).last(1), position, reference.window, 1);
  }
}

}  // namespace

Reference read_reference(const std::filesystem::path& directory, const std::string& mode) {
  const auto file = nlohmann::json::parse(read_file(directory / "reference.json"));
  const nlohmann::json& section = file.at(mode);
  Reference reference;
  reference.tokens = file.at("input_ids").get<std::vector<TokenId>>();
  reference.nll = section.at("nll").get<std::vector<double>>();
  reference.last_logits = section.at("last_logits").get<std::vector<float>>();
  if (mode == "dense") {
    reference.tokens.resize(section.at("tokens").get<std::size_t>());
    reference.window = {0, static_cast<std::int64_t>(reference.tokens.size())};
    reference.greedy = file.at("greedy").at("tokens").get<std::vector<TokenId>>();
    reference.prompt_tokens = file.at("greedy").at("prompt").get<std::int64_t>();
  } else {
    reference.window = {section.at("sink_tokens").get<std::int64_t>(),
                        section.at("window_tokens").get<std::int64_t>()};
    reference.greedy = section.at("greedy_tokens").get<std::vector<TokenId>>();
    reference.prompt_tokens = section.at("greedy_prompt").get<std::int64_t>();
  }
  return reference;
}

KvCacheSizes cache_for(const Reference& reference, int num_slots, std::int64_t slack_tokens) {
  return {.num_slots = num_slots,
          .sink_capacity = reference.window.sink_tokens,
          .ring_capacity = ring_capacity(reference.window.window_tokens, slack_tokens)};
}

NllError nll_error(const Reference& reference, const Logits& logits) {
  NllError error;
  for (std::size_t i = 0; i < reference.nll.size(); ++i) {
    const double nll =
        negative_log_likelihood(logits.of(static_cast<std::int64_t>(i)), reference.tokens[i + 1]);
    const double difference = std::abs(nll - reference.nll[i]);
    error.mean += difference / static_cast<double>(reference.nll.size());
    error.largest = std::isnan(difference) ? difference : std::max(error.largest, difference);
  }
  return error;
}

void expect_reference(const std::filesystem::path& directory, const std::string& mode, int ranks,
                      const std::string& backend) {
  const Reference reference = read_reference(directory, mode);
  const GroupSettings settings{.directory = directory,
                               .ranks = ranks,
                               .cache = cache_for(reference, 2, 16),
                               .max_rows = 16,
                               .backend = backend};
  run_on_ranks(settings, [&](TestRank& rank) {
    const Logits logits = rank.feed(0, reference.tokens, 0, reference.window, 13);
    const std::vector<TokenId> greedy = greedy_tokens(rank, 1, reference);
    if (!rank.is_leader()) return;

    EXPECT_LT(nll_error(reference, logits).largest, kNllTolerance);
    EXPECT_EQ(greedy, reference.greedy);
    const auto last = logits.of(logits.tokens() - 1);
    ASSERT_EQ(last.size(), reference.last_logits.size());
    for (std::size_t i = 0; i < last.size(); ++i) {
      EXPECT_NEAR(last[i], reference.last_logits[i], kLogitTolerance) << "token " << i;
    }
  });
}

}  // namespace sinkstream
