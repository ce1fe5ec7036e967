#include "worker/main/startup.h"

#include <gtest/gtest.h>

#include <thread>

#include "parallel/in_process.h"
#include "worker/error.h"

namespace sinkstream {
namespace {

// What each of three ranks throws when `action(rank)` runs together.
std::vector<std::string> run_together(const std::function<void(int)>& action) {
  auto group = make_in_process_group(3);
  std::vector<std::string> outcomes(3);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank) {
    threads.emplace_back([&, rank] {
      const auto index = static_cast<std::size_t>(rank);
      try {
        together(*group[index], [&] { action(rank); });
      } catch (const StartupError& error) {
        outcomes[index] = std::to_string(static_cast<int>(error.code())) + " " + error.what();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return outcomes;
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
