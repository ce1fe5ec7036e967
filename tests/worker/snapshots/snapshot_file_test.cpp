// One file: what is read is what was written, or an error.
#include "worker/snapshots/snapshot_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/temporary_directory.h"
#include "tests/worker/snapshots/saved_state.h"

namespace sinkstream {
namespace {

class SnapshotFile : public testing::Test {
 protected:
  TemporaryDirectory directory;
  const std::filesystem::path file = directory.path() / "1.snapshot";
  SavedState state{1, 1500};

  void write() { write_snapshot(file, "layout", snapshot_of(1), state.saved()); }
  std::string bytes() const {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void put(const std::string& contents) {
    std::filesystem::remove(file);  // to write over what was synced takes long
    directory.write("1.snapshot", contents);
  }
  // Whether it is read, and then as it was written.
  bool is_read() {
    SavedState read(2, 1500);
    try {
      read_snapshot(file, "layout", snapshot_of(1), read.parts());
    } catch (const std::runtime_error&) {
      return false;
    }
    EXPECT_TRUE(read.holds(state));
    return true;
  }
};

TEST_F(SnapshotFile, IsReadAsItWasWritten) {
  write();
  EXPECT_TRUE(is_read());
  EXPECT_EQ(read_snapshot_head(file, "layout"), snapshot_of(1));
  EXPECT_FALSE(std::filesystem::exists(unfinished(file)));
  struct stat status {};
  ASSERT_EQ(::stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u) << "for this user alone";
}

TEST_F(SnapshotFile, OfAnotherStateIsNone) {
  write();
  EXPECT_FALSE(read_snapshot_head(file, "another layout"));
  SavedState read(2, 1500), larger(3, 1501);
  EXPECT_THROW(read_snapshot(file, "another layout", snapshot_of(1), read.parts()), std::runtime_error);
  EXPECT_THROW(read_snapshot(file, "layout", snapshot_of(1, 51), read.parts()), std::runtime_error);
  EXPECT_THROW(read_snapshot(file, "layout", snapshot_of(1), larger.parts()), std::runtime_error);
  EXPECT_THROW(read_snapshot(directory.path() / "2", "layout", snapshot_of(1), read.parts()),
               std::runtime_error);
  EXPECT_FALSE(read_snapshot_head(directory.path() / "2", "layout"));
}

TEST_F(SnapshotFile, NoFlippedBitGoesUnnoticed) {
  write();
  const std::string whole = bytes();
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string flipped = whole;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
    put(flipped);
    EXPECT_FALSE(is_read()) << "byte " << i;
    const auto head = read_snapshot_head(file, "layout");
    EXPECT_TRUE(!head || *head == snapshot_of(1)) << "byte " << i;
  }
}

TEST_F(SnapshotFile, NoCutGoesUnnoticed) {
  write();
  const std::string whole = bytes();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    put(whole.substr(0, size));
    EXPECT_FALSE(is_read()) << size << " bytes";
  }
}

// Whoever ends does not wait for a disk.
TEST_F(SnapshotFile, IsGivenUpBetweenPieces) {
  SavedState large(1, std::size_t{70} << 20);
  int asked = 0;
  const auto gives_up = [&] { return ++asked == 2; };
  EXPECT_THROW(write_snapshot(file, "layout", snapshot_of(1), large.saved(), gives_up), std::runtime_error);
  EXPECT_EQ(asked, 2);
  EXPECT_FALSE(std::filesystem::exists(file) || std::filesystem::exists(unfinished(file)));
  write_snapshot(file, "layout", snapshot_of(1), large.saved());
  asked = 0;
  SavedState read(2, large.memory.size());
  EXPECT_THROW(read_snapshot(file, "layout", snapshot_of(1), read.parts(), gives_up), std::runtime_error);
  read_snapshot(file, "layout", snapshot_of(1), read.parts());
  EXPECT_TRUE(read.holds(large));
}

// What stood there stays until the new one is whole.
TEST_F(SnapshotFile, ThatCannotBeWrittenLeavesTheLastOne) {
  write();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto previous = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  SavedState other(7);
  EXPECT_THROW(write_snapshot(file, "layout", snapshot_of(1, 60), other.saved()), std::runtime_error);
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, previous);
  EXPECT_TRUE(is_read());
  EXPECT_FALSE(std::filesystem::exists(unfinished(file)));
}

}  // namespace
}  // namespace sinkstream
