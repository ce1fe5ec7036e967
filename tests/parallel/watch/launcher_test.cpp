#include "parallel/watch/launcher.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sinkstream::watch {
namespace {

TEST(ProcessState, IsTheLetterAfterTheName) {
  EXPECT_EQ(process_state("123 (mpirun) S 1 2 3"), 'S');
  EXPECT_EQ(process_state("123 (mpirun) T 1 2 3"), 'T');
  EXPECT_EQ(process_state("123 (a) T (b) R) S 1 2 3"), 'S') << "names may hold anything";
}

TEST(ProcessState, IsNothingInOtherTexts) {
  EXPECT_EQ(process_state(""), '\0');
  EXPECT_EQ(process_state("123 (mpirun"), '\0');
  EXPECT_EQ(process_state("123 (mpirun) "), '\0');
}

TEST(LauncherWatch, FindsNothingWrongWithARunningParent) {
  LauncherWatch watch(true, std::chrono::milliseconds(1000));
  for (int s = 0; s < 10; ++s) EXPECT_FALSE(watch.judge_stop(std::chrono::seconds(s)));
  EXPECT_FALSE(watch.judge_end());
}

TEST(LauncherWatch, WatchesNothingWhenNotAsked) {
  LauncherWatch watch(false, std::chrono::milliseconds(1000));
  EXPECT_FALSE(watch.judge_stop(std::chrono::seconds(100)));
  EXPECT_FALSE(watch.judge_end());
  watch.continue_if_stopped();
}

// Slurm's slurmstepd, for one, starts ranks and serves other steps.
TEST(LauncherWatch, LeavesAParentThatIsNotOpenMpisAlone) {
  const pid_t parent = ::fork();
  if (parent == 0) {
    const pid_t rank = ::fork();
    if (rank == 0) {
      LauncherWatch(true, std::chrono::milliseconds(1000)).end_within(std::chrono::milliseconds(0));
      ::_exit(0);
    }
    ::waitpid(rank, nullptr, 0);
    ::usleep(200000);
    ::_exit(7);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(parent, &status, 0), parent);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

}  // namespace
}  // namespace sinkstream::watch
