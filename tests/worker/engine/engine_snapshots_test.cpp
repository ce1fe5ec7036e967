// Snapshots of a model's sessions, in files: who is taken up from one says, bit for bit, what it would have
// said.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/temporary_directory.h"
#include "tests/worker/engine/engine_group.h"

namespace sinkstream {
namespace {

constexpr SnapshotName kName{.session = 3, .save = 4};

class EngineSnapshots : public testing::TestWithParam<std::tuple<bool, int, std::string>> {
 protected:
  TemporaryDirectory directory;

  GroupOptions options(bool with_files = true) const {
    const auto& [dense, ranks, backend] = GetParam();
    GroupOptions options{.ranks = ranks, .slots = 2, .places = 1, .dense = dense, .backend = backend};
    if (dense) options.window = {0, 200};
    if (with_files) options.snapshots = directory.path();
    return options;
  }
  static std::vector<TokenId> content(std::int64_t tokens) {
    std::vector<TokenId> all;
    for (std::int64_t i = 0; i < tokens; ++i) all.push_back(static_cast<TokenId>((i * 37 + i / 5) % 90));
    return all;
  }
  static Generate turn(std::vector<TokenId> prompt) {
    Generate command = one_turn(std::move(prompt), 6);
    command.session = 1;
    command.params.sampling.temperature = 0.8f;
    command.params.sampling.seed = 5;
    command.params.logprobs = true;
    return command;
  }
  // What a session says that was always there.
  std::vector<TokenEvent> expected(std::int64_t tokens) const {
    TestGroup group(options(/*with_files=*/false));
    group.send(OpenSession{.session = 1});
    auto prompt = content(tokens);
    prompt.push_back(7);
    return group.run(turn(prompt)).events;
  }
  void save(std::int64_t tokens) {
    TestGroup group(options());
    group.send(OpenSession{.session = 1});
    Generate fill = turn(content(tokens));
    fill.params.max_tokens = 0;
    group.run(fill);
    group.ledger->wait_for_change(group.send(SaveSession{.session = 1, .tokens = tokens, .name = kName}));
    const auto bytes = static_cast<std::int64_t>(file_size(directory.path() / "0" / "3.snapshot"));
    EXPECT_EQ(group.engine->stats().snapshot_bytes, bytes);
  }
  // A group that knows the session by its tokens and its snapshot; how many tokens it took in anew.
  std::int64_t expect_taken_up(std::int64_t tokens) {
    const auto alone = expected(tokens);
    TestGroup group(options());
    const Past past{{}, 0, content(tokens)};
    group.send(OpenSession{.session = 1, .window = {}, .past = past, .snapshots = {kName}});
    const auto told = group.run(turn({7})).events;
    EXPECT_EQ(told.size(), alone.size());
    for (std::size_t i = 0; i < std::min(told.size(), alone.size()); ++i) {
      EXPECT_EQ(told[i].token, alone[i].token) << i;
      EXPECT_EQ(told[i].logprob, alone[i].logprob) << i;
    }
    return group.engine->stats().replayed_tokens;
  }
};

INSTANTIATE_TEST_SUITE_P(Groups, EngineSnapshots,
                         testing::Combine(testing::Bool(), testing::Values(1, 3),
                                          testing::Values("cpu", "awkward")),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param) ? "dense" : "sink") +
                                  std::to_string(std::get<1>(test.param)) + std::get<2>(test.param);
                         });

TEST_P(EngineSnapshots, GoOnInAnotherGroup) {
  for (const std::int64_t saved : {3, 40, 120}) {
    SCOPED_TRACE(saved);
    save(saved);
    EXPECT_EQ(expect_taken_up(saved + 11), 11);
    EXPECT_EQ(expect_taken_up(saved), 0);
    EXPECT_EQ(expect_taken_up(saved - 2), 0) << "it goes back";
  }
}

// On one rank alone, which need not be the leader: all make the session anew.
TEST_P(EngineSnapshots, ThatAreDamagedOrMissingAreNotUsed) {
  const auto& [dense, ranks, backend] = GetParam();
  const auto file = directory.path() / std::to_string(ranks - 1) / "3.snapshot";
  save(60);
  {
    std::fstream flipped(file, std::ios::in | std::ios::out | std::ios::binary);
    flipped.seekp(static_cast<std::streamoff>(std::filesystem::file_size(file) / 2));
    flipped.put('x').put('y').put('z');
  }
  EXPECT_EQ(expect_taken_up(60), 60);
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "0" / "3.snapshot")) << "nobody tries again";
  save(60);
  std::filesystem::remove(file);
  EXPECT_EQ(expect_taken_up(60), 60);
  save(60);
  EXPECT_EQ(expect_taken_up(60), 0);
}

}  // namespace
}  // namespace sinkstream
