#include "parallel/start/together.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"
#include "parallel/communicator/in_process.h"

namespace sinkstream {
namespace {

// What each of three ranks throws when all run `step(communicator, rank)`.
std::vector<std::string> run_ranks(const std::function<void(Communicator&, int)>& step) {
  auto group = make_in_process_group(3);
  std::vector<std::string> outcomes(3);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank) {
    threads.emplace_back([&, rank] {
      const auto index = static_cast<std::size_t>(rank);
      try {
        step(*group[index], rank);
      } catch (const StartupError& error) {
        outcomes[index] = std::to_string(static_cast<int>(error.code())) + " " + error.what();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return outcomes;
}

std::vector<std::string> run_together(const std::function<void(int)>& action) {
  return run_ranks([&](Communicator& group, int rank) { together(group, [&] { action(rank); }); });
}

TEST(RequireSame, NamesTheFirstRankThatDiffers) {
  const auto outcomes =
      run_ranks([](Communicator& group, int rank) { require_same(group, rank == 2 ? 8u : 7u, "files"); });
  EXPECT_EQ(outcomes,
            std::vector<std::string>(3, "3 rank 2 sees other files than rank 0; give every host the same"));
  EXPECT_EQ(run_ranks([](Communicator& group, int) { require_same(group, 7, "files"); }),
            std::vector<std::string>(3));
}

TEST(Together, SucceedsWhenAllDo) {
  EXPECT_EQ(run_together([](int) {}), std::vector<std::string>(3));
}

TEST(Together, OneFailureIsEveryonesAndNamesTheRank) {
  const auto outcomes = run_together([](int rank) {
    if (rank == 1) throw StartupError(ExitCode::model, "no such file");
  });
  EXPECT_EQ(outcomes, std::vector<std::string>(3, "3 rank 1: no such file"));
}

TEST(Together, TheSameFailureEverywhereIsSaidOnce) {
  const auto outcomes = run_together([](int) { throw StartupError(ExitCode::config, "bad key"); });
  EXPECT_EQ(outcomes, std::vector<std::string>(3, "2 bad key"));
}

TEST(Together, AnUnexpectedExceptionIsAnInternalError) {
  const auto outcomes = run_together([](int rank) {
    if (rank == 2) throw std::runtime_error("oops");
  });
  EXPECT_EQ(outcomes[0], "1 rank 2: oops");
}

}  // namespace
}  // namespace sinkstream
