// A process that writes sessions is killed at whatever it does: what it was told to be committed is there.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <random>

#include "tests/coordinator/store/store_model.h"
#include "tests/coordinator/store/store_testing.h"
#include "tests/temporary_directory.h"

namespace sinkstream {
namespace {

// Commits until it is killed, and reports the number of each.
[[noreturn]] void write_for_ever(const std::filesystem::path& directory, StoreModel model, int reports) {
  SessionStore store(settings(directory));
  for (;;) {
    model.commit(store);
    const std::int64_t commits = model.commits();
    if (::write(reports, &commits, sizeof commits) != sizeof commits) _exit(1);
    if (commits % 16 == 0) store.sync();
  }
}

// Some time after some reports, kills the writer and returns the last commit that it reported.
std::int64_t kill_after(pid_t writer, int reports, std::mt19937& random) {
  std::int64_t last = 0;
  const auto count = random() % 20;
  for (unsigned i = 0; i < count; ++i) {
    if (::read(reports, &last, sizeof last) != sizeof last) ADD_FAILURE() << "the writer ended by itself";
  }
  ::usleep(static_cast<useconds_t>(random() % 4'000));
  ::kill(writer, SIGKILL);
  ::waitpid(writer, nullptr, 0);
  while (::read(reports, &last, sizeof last) == sizeof last) {
  }
  return last;
}

TEST(CrashTest, EveryReportedCommitIsThere) {
  TemporaryDirectory directory{quick_place()};
  std::mt19937 random(1);
  StoreModel model;
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    int reports[2];
    ASSERT_EQ(0, ::pipe(reports));
    const pid_t writer = ::fork();
    ASSERT_GE(writer, 0);
    if (writer == 0) {
      ::close(reports[0]);
      try {
        write_for_ever(directory.path(), model, reports[1]);
      } catch (...) {
        _exit(1);
      }
    }
    ::close(reports[1]);
    const std::int64_t reported = kill_after(writer, reports[0], random);
    ::close(reports[0]);
    SessionStore store(settings(directory.path()));
    const std::int64_t commits = StoreModel::commits_in(store);
    ASSERT_GE(commits, reported);
    ASSERT_LE(commits, std::max(reported, model.commits()) + 1);  // one may have ended before its report
    model.replay_to(commits);
    model.expect_equal(store);
    if (HasFailure()) return;
  }
  EXPECT_GT(model.commits(), 500);
}

// The log's end is not on the disk when a host dies: the store is what it was some commits ago.
TEST(CrashTest, ATornLogIsAPrefixOfItsCommits) {
  TemporaryDirectory directory{quick_place()};
  auto store = std::make_unique<SessionStore>(settings(directory.path()));
  StoreModel model;
  for (int i = 0; i < 40; ++i) model.commit(*store);
  store->sync();
  for (int i = 0; i < 40; ++i) model.commit(*store);
  const auto length = std::filesystem::file_size(log_file(directory.path()));
  std::mt19937 random(2);
  for (int round = 0; round < 40; ++round) {
    SCOPED_TRACE(round);
    TemporaryDirectory torn{quick_place()};
    copy_files(directory.path(), torn.path());
    std::filesystem::resize_file(log_file(torn.path()), round == 0   ? 0
                                                        : round == 1 ? length
                                                                     : random() % length);
    SessionStore opened(settings(torn.path()));
    const std::int64_t commits = StoreModel::commits_in(opened);
    ASSERT_GE(commits, round == 1 ? 80 : 40);
    ASSERT_LE(commits, round == 0 ? 40 : 80);
    StoreModel before;
    before.replay_to(commits);
    before.expect_equal(opened);
    before.commit(opened);  // it goes on from there
    before.expect_equal(opened);
  }
}

}  // namespace
}  // namespace sinkstream
