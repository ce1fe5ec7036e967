#include "parallel/host/shared_segments.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace sinkstream {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(SharedSegments, ThoseOfBothVersionsOfOpenMpiOnce) {
  EXPECT_THAT(shared_segments("7f12-7f13 rw-s 00000000 00:19 11 /dev/shm/vader_segment.host.0.5a01.1\n"
                              "7f13-7f14 rw-s 00001000 00:19 11 /dev/shm/vader_segment.host.0.5a01.1\n"
                              "7f14-7f15 rw-s 00000000 00:19 12 /dev/shm/sm_segment.host.0.5a01.0"),
              ElementsAre("/dev/shm/sm_segment.host.0.5a01.0", "/dev/shm/vader_segment.host.0.5a01.1"));
}

TEST(SharedSegments, NothingElse) {
  EXPECT_THAT(shared_segments(""), IsEmpty());
  EXPECT_THAT(shared_segments("\n\n"), IsEmpty());
  EXPECT_THAT(shared_segments("7f12-7f13 rw-p 00000000 00:00 0\n"
                              "7f12-7f13 rw-s 00000000 00:19 11 /dev/shm/vader_segment.host.0.1.1 (deleted)\n"
                              "7f12-7f13 rw-s 00000000 00:19 11 /dev/shm/another_program\n"
                              "7f12-7f13 r-xp 00000000 00:19 11 /home/vader_segment.host.0.1.1\n"
                              "7f12-7f13 rw-p 00000000 00:00 0 [heap]\n"),
              IsEmpty());
}

TEST(SharedSegments, AreUnlinked) {
  const std::string path = "/dev/shm/vader_segment.sinkstream-test." + std::to_string(::getpid());
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
  ASSERT_GE(file, 0);
  ASSERT_EQ(::ftruncate(file, 4096), 0);
  void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ASSERT_NE(memory, MAP_FAILED);
  remove_shared_segments();
  EXPECT_FALSE(std::filesystem::exists(path));
  ::munmap(memory, 4096);
  ::close(file);
}

}  // namespace
}  // namespace sinkstream
