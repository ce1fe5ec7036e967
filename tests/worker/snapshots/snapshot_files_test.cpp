// A rank's directory of snapshots.
#include "worker/snapshots/snapshot_files.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "base/error.h"
#include "tests/patience.h"
#include "tests/temporary_directory.h"
#include "tests/worker/snapshots/saved_state.h"

namespace sinkstream {
namespace {

class SnapshotFilesTest : public testing::Test {
 protected:
  TemporaryDirectory directory;
  std::uint64_t jobs = 0;

  SnapshotSettings settings(std::int64_t most_bytes = 1 << 20) const {
    return {.directory = directory.path() / "a" / "b", .layout = "layout", .most_bytes = most_bytes};
  }
  static void wait(SnapshotFiles& files, std::uint64_t job) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!files.is_done(job)) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  void write(SnapshotFiles& files, std::uint64_t session, unsigned seed) {
    SavedState state(seed);
    files.write(++jobs, snapshot_of(session), state.saved());
    wait(files, jobs);
  }
  // Whether what is there of the session was written of this state.
  bool has(SnapshotFiles& files, std::uint64_t session, unsigned seed) {
    SavedState read(1000), expected(seed);
    files.read(++jobs, snapshot_of(session), read.parts());
    try {
      wait(files, jobs);
    } catch (const std::runtime_error&) {
      EXPECT_TRUE(files.is_done(jobs)) << "told once";
      return false;
    }
    return read.holds(expected);
  }
};

TEST_F(SnapshotFilesTest, OutliveTheProcess) {
  {
    SnapshotFiles files(settings());
    write(files, 1, 1);
    write(files, 2, 2);
    write(files, 1, 3);  // in place of the first
    EXPECT_TRUE(has(files, 1, 3));
  }
  directory.write("a/b/5.snapshot.part", "cut short");
  directory.write("a/b/notes.txt", "somebody's");
  SnapshotFiles files(settings());
  EXPECT_EQ(files.find(1), snapshot_of(1));
  EXPECT_TRUE(has(files, 1, 3));
  EXPECT_TRUE(has(files, 2, 2));
  EXPECT_FALSE(files.find(3));
  EXPECT_FALSE(has(files, 3, 1));
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "a/b/5.snapshot.part"));
  EXPECT_TRUE(std::filesystem::exists(directory.path() / "a/b/notes.txt"));
}

TEST_F(SnapshotFilesTest, AreRemoved) {
  SnapshotFiles files(settings());
  for (unsigned session : {1, 2, 3, 4}) write(files, session, session);
  files.remove(++jobs, 2);
  files.remove(++jobs, 77);
  files.keep_only(++jobs, {9, 4, 1, 2});
  wait(files, jobs);
  EXPECT_TRUE(has(files, 1, 1));
  EXPECT_FALSE(files.find(2));
  EXPECT_FALSE(files.find(3));
  EXPECT_TRUE(has(files, 4, 4));
}

TEST_F(SnapshotFilesTest, TakeNoMoreThanTheyMay) {
  std::int64_t one = 0;
  {
    SnapshotFiles files(settings());
    write(files, 1, 1);
    one = files.bytes();
    EXPECT_GT(one, 2900);
  }
  SnapshotFiles files(settings(3 * one + 4096));  // less than another one, with room for its head
  write(files, 2, 2);
  write(files, 3, 3);
  EXPECT_TRUE(has(files, 1, 1));  // which is a use
  write(files, 4, 4);
  EXPECT_EQ(files.bytes(), 3 * one);
  EXPECT_FALSE(files.find(2)) << "the least recently used goes";
  EXPECT_TRUE(files.find(1) && files.find(3) && files.find(4));
}

TEST_F(SnapshotFilesTest, ThatAreTooLargeFailWithTheSettingsName) {
  SnapshotFiles files(settings(2000));
  SavedState state(1);
  files.write(++jobs, snapshot_of(1), state.saved());
  try {
    wait(files, jobs);
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("sessions.snapshot_bytes"), std::string::npos);
  }
  EXPECT_FALSE(files.find(1));
  EXPECT_EQ(files.bytes(), 0);
}

TEST_F(SnapshotFilesTest, JobsThatCouldNotBeginAreDone) {
  SnapshotFiles files(settings());
  files.skip(++jobs);
  wait(files, jobs);
  EXPECT_FALSE(files.is_done(jobs + 1));
}

TEST_F(SnapshotFilesTest, ThatAreOfNoUseGo) {
  {
    SnapshotFiles files(settings());
    for (unsigned session : {1, 2, 3}) write(files, session, session);
  }
  const auto folder = directory.path() / "a/b";
  std::filesystem::rename(folder / "2.snapshot", folder / "9.snapshot");  // its head says 2
  directory.write("a/b/3.snapshot", "damaged");
  SnapshotFiles files(settings());
  EXPECT_TRUE(files.find(1));
  EXPECT_FALSE(files.find(2) || files.find(3) || files.find(9));
  EXPECT_FALSE(std::filesystem::exists(folder / "9.snapshot"));
  EXPECT_FALSE(std::filesystem::exists(folder / "3.snapshot"));
}

TEST_F(SnapshotFilesTest, AreOneProcessAtATime) {
  const SnapshotFiles files(settings());
  EXPECT_THROW(SnapshotFiles{settings()}, StartupError);
}

TEST_F(SnapshotFilesTest, ADirectoryThatCannotBeMadeIsRefused) {
  directory.write("a", "a file");
  try {
    const SnapshotFiles files(settings());
    FAIL();
  } catch (const StartupError& error) {
    EXPECT_EQ(error.code(), ExitCode::config);
    EXPECT_NE(std::string(error.what()).find("sessions.directory"), std::string::npos);
  }
}

}  // namespace
}  // namespace sinkstream
