#include "parallel/start/launch_mismatch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace sinkstream {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

std::string mismatch(int world_size, const Variables& variables) {
  return launch_mismatch(world_size, [&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

TEST(LaunchMismatch, SaysWhatWasAskedForAndHowToStart) {
  EXPECT_THAT(mismatch(1, {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "2"}}),
              AllOf(HasSubstr("srun started 2 tasks"), HasSubstr("MPI sees 1"), HasSubstr("srun --mpi=pmix"),
                    HasSubstr("mpirun -np 2")));
  EXPECT_THAT(mismatch(1, {{"PMI_RANK", "3"}, {"PMI_SIZE", "4"}}),
              HasSubstr("another MPI's mpiexec started 4"));
  EXPECT_THAT(mismatch(1, {{"FLUX_TASK_RANK", "0"}, {"FLUX_JOB_SIZE", "8"}}),
              HasSubstr("flux run started 8"));
  EXPECT_THAT(mismatch(1, {{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}}),
              HasSubstr("mpirun started 2"));
}

TEST(LaunchMismatch, NothingWhereTheCountsAgree) {
  EXPECT_EQ(mismatch(1, {}), "");
  EXPECT_EQ(mismatch(2, {{"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "2"}}), "");
  EXPECT_EQ(mismatch(1, {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}}), "");
  EXPECT_EQ(mismatch(4, {{"PMI_RANK", "0"}, {"PMI_SIZE", "4"}}), "");
  EXPECT_EQ(mismatch(1, {{"SLURM_NTASKS", "8"}}), "") << "a shell of salloc is no task";
  EXPECT_EQ(mismatch(1, {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "many"}}), "");
}

TEST(LaunchMismatch, TheInnerLauncherCounts) {
  EXPECT_EQ(mismatch(1, {{"OMPI_COMM_WORLD_RANK", "0"},
                         {"OMPI_COMM_WORLD_SIZE", "1"},
                         {"SLURM_PROCID", "0"},
                         {"SLURM_NTASKS", "8"}}),
            "")
      << "mpirun -np 1 in a job of 8";
  EXPECT_EQ(mismatch(1, {{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_NTASKS", "8"}}), "")
      << "srun -n 1 in a job of 8";
}

}  // namespace
}  // namespace sinkstream
