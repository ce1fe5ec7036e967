#include "parallel/host/cpu_quota.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/temporary_directory.h"

namespace sinkstream {
namespace {

namespace fs = std::filesystem;

// A machine's /proc and control groups, made of files.
class CpuQuota : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) const { directory_.write(name, text); }
  void v2(const std::string& group, const std::string& mounted = "/") const {
    write("proc/self/cgroup", "0::" + group + "\n");
    write("proc/self/mountinfo", "22 1 0:21 / /proc rw - proc proc rw\n30 22 0:26 " + mounted +
                                     " /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  }
  void v1(const std::string& group, const std::string& mounted = "/") const {
    write("proc/self/cgroup", "9:memory:/m\n4:cpu,cpuacct:" + group + "\n3:cpuset:/c\n0::/\n");
    write("proc/self/mountinfo",
          "33 32 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
          "34 32 0:29 " +
              mounted + " /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n");
  }

  const TemporaryDirectory directory_;
  const fs::path root_ = directory_.path();
};

TEST_F(CpuQuota, NoneWithoutControlGroups) {
  EXPECT_EQ(cpu_quota(root_), std::nullopt);
  write("proc/self/mountinfo", "22 1 0:21 / /proc rw - proc proc rw\nnonsense\n");
  EXPECT_EQ(cpu_quota(root_), std::nullopt);
}

TEST_F(CpuQuota, OfAContainerThatSeesItselfAsTheRoot) {
  v2("/");
  write("sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(cpu_quota(root_), 2.0);
  write("sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(cpu_quota(root_), std::nullopt);
  write("sys/fs/cgroup/cpu.max", "25000 50000\n");
  EXPECT_EQ(cpu_quota(root_), 0.5);
  write("sys/fs/cgroup/cpu.max", "rubbish\n");
  EXPECT_EQ(cpu_quota(root_), std::nullopt);
}

TEST_F(CpuQuota, TheLeastOfNestedGroups) {
  v2("/kubepods/pod1/box");
  write("sys/fs/cgroup/kubepods/cpu.max", "800000 100000");
  write("sys/fs/cgroup/kubepods/pod1/cpu.max", "150000 100000");
  write("sys/fs/cgroup/kubepods/pod1/box/cpu.max", "max 100000");
  EXPECT_EQ(cpu_quota(root_), 1.5);
  write("sys/fs/cgroup/kubepods/pod2/cpu.max", "10000 100000");
  EXPECT_EQ(cpu_quota(root_), 1.5) << "another's";
}

TEST_F(CpuQuota, OfAGroupThatIsMountedItself) {
  v2("/docker/abc", "/docker/abc");
  write("sys/fs/cgroup/cpu.max", "300000 100000");
  EXPECT_EQ(cpu_quota(root_), 3.0);
  v2("/../other", "/docker/abc");
  EXPECT_EQ(cpu_quota(root_), 3.0) << "a group that is not to be seen: the mounted one counts";
}

TEST_F(CpuQuota, OfVersion1) {
  v1("/docker/abc");
  write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "250000\n");
  write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cpu_quota(root_), 2.5);
  write("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "100000\n");
  write("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cpu_quota(root_), 1.0);
  write("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(cpu_quota(root_), 2.5);
}

}  // namespace
}  // namespace sinkstream
