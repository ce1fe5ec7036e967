#include "parallel/start/affinity.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "parallel/communicator/in_process.h"
#include "tests/temporary_directory.h"

namespace sinkstream {
namespace {

namespace fs = std::filesystem;

TEST(CpusOfLocalRank, DividesThemEvenlyInOrder) {
  const std::vector<int> cpus{0, 1, 2, 3, 8, 9, 10};
  EXPECT_EQ(cpus_of_local_rank(cpus, 0, 1), cpus);
  EXPECT_EQ(cpus_of_local_rank(cpus, 0, 2), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(cpus_of_local_rank(cpus, 1, 2), (std::vector<int>{8, 9, 10}));
  EXPECT_EQ(cpus_of_local_rank(cpus, 6, 7), (std::vector<int>{10}));
}

TEST(CpusOfLocalRank, EveryCpuIsUsedOnce) {
  std::vector<int> cpus(13);
  for (int i = 0; i < 13; ++i) cpus[static_cast<std::size_t>(i)] = i * 2;
  for (int size = 1; size <= 13; ++size) {
    std::vector<int> used;
    for (int r = 0; r < size; ++r) {
      const std::vector<int> share = cpus_of_local_rank(cpus, r, size);
      used.insert(used.end(), share.begin(), share.end());
    }
    EXPECT_EQ(used, cpus) << size << " ranks";
  }
}

TEST(CpusOfLocalRank, MoreRanksThanCpusShareThemInTurn) {
  const std::vector<int> cpus{4, 5};
  EXPECT_EQ(cpus_of_local_rank(cpus, 0, 3), (std::vector<int>{4}));
  EXPECT_EQ(cpus_of_local_rank(cpus, 1, 3), (std::vector<int>{5}));
  EXPECT_EQ(cpus_of_local_rank(cpus, 2, 3), (std::vector<int>{4}));
}

TEST(CpusOfLocalRank, NoneOfNone) {
  EXPECT_TRUE(cpus_of_local_rank({}, 0, 2).empty());
}

std::vector<int> cpus_of_this_thread() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

TEST(AllowedCpus, AreOurOwnWhereNoLauncherIs) {
  Surroundings around;
  around.parent = 1 << 30;  // no such process
  EXPECT_EQ(allowed_cpus(around), cpus_of_this_thread());
}

// A process bound to CPUs `own` whose parent, `name`, may use `theirs`.
class Given : public testing::Test {
 protected:
  std::vector<int> allowed(const std::string& own, const std::string& theirs,
                           const std::vector<std::string>& command, const std::string& name = "mpirun") {
    write("thread-self/status",
          "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t" + own + "\nMems_allowed:\t1\n");
    write("77/status", "Name:\ty\nCpus_allowed_list:\t" + theirs + "\n");
    write("77/comm", name + "\n");
    std::string line;
    for (const std::string& word : command) line += word + '\0';
    write("77/cmdline", line);
    Surroundings around;
    around.proc = proc_;
    around.parent = 77;
    around.variable = [this](const char* key) {
      const auto found = variables_.find(key);
      return found == variables_.end() ? nullptr : found->second.c_str();
    };
    return allowed_cpus(around);
  }
  void write(const std::string& name, const std::string& text) { directory_.write(name, text); }

  const TemporaryDirectory directory_;
  const fs::path proc_ = directory_.path();
  std::map<std::string, std::string> variables_ = {{"OMPI_MCA_orte_launch", "1"},
                                                   {"OMPI_MCA_orte_bound_at_launch", "1"}};
};

const std::vector<std::string> kPlain = {"mpirun", "-np", "1", "stream-worker", "model"};

TEST_F(Given, TheLaunchersWhereItBoundUsByDefault) {
  EXPECT_EQ(allowed("0", "0-3", kPlain), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(allowed("0", "1", kPlain), (std::vector<int>{1})) << "taskset -c 1 mpirun";
  EXPECT_EQ(allowed("0", "2-3,8,10-11", kPlain), (std::vector<int>{2, 3, 8, 10, 11}));
  for (const char* daemon : {"orterun", "mpiexec", "orted", "prterun", "prted"}) {
    EXPECT_EQ(allowed("0", "0-1", kPlain, daemon), (std::vector<int>{0, 1})) << daemon;
  }
  variables_["OMPI_MCA_rmaps_base_mapping_policy"] = "node";
  variables_["OMPI_COMMAND"] = "stream-worker";
  variables_["OMPI_ARGV"] = "--config taskset.yaml";
  EXPECT_EQ(allowed("0", "0-1", kPlain), (std::vector<int>{0, 1})) << "which say nothing of CPUs";
}

TEST_F(Given, OurOwnWhereTheUserSaidWhich) {
  const std::pair<const char*, const char*> variables[] = {
      {"OMPI_MCA_hwloc_base_cpu_set", "1"},
      {"OMPI_MCA_hwloc_base_binding_policy", "core"},
      {"OMPI_MCA_hwloc_base_binding_policy", "none"},
      {"OMPI_MCA_rmaps_base_mapping_policy", "slot:PE=2"},
      {"OMPI_MCA_rmaps_rank_file_path", "ranks"},
      {"PRTE_MCA_hwloc_default_cpu_list", "1"},
      {"PRTE_MCA_rmaps_default_mapping_policy", "pe-list=1"},
      {"OMPI_COMMAND", "taskset"},
      {"OMPI_ARGV", "-n 5 /usr/bin/numactl -C 1 stream-worker model"}};
  for (const auto& [key, value] : variables) {
    variables_[key] = value;
    EXPECT_EQ(allowed("1", "0-3", kPlain), (std::vector<int>{1})) << key << "=" << value;
    variables_.erase(key);
  }
  for (const auto& options : std::vector<std::vector<std::string>>{{"--cpu-set", "1"},
                                                                   {"--cpu-list=1"},
                                                                   {"-bind-to", "core"},
                                                                   {"--map-by", "ppr:1:node:pe=1"},
                                                                   {"--map-by", "pe-list=1:ordered"},
                                                                   {"--rankfile", "ranks"}}) {
    std::vector<std::string> command = {"mpirun"};
    command.insert(command.end(), options.begin(), options.end());
    EXPECT_EQ(allowed("1", "0-3", command), (std::vector<int>{1})) << options.front();
  }
}

TEST_F(Given, OurOwnWhereNobodyBoundUs) {
  EXPECT_EQ(allowed("1", "0-3", kPlain, "bash"), (std::vector<int>{1}));
  EXPECT_EQ(allowed("2-3", "0-3", kPlain, "slurmstepd"), (std::vector<int>{2, 3}));
  variables_.erase("OMPI_MCA_orte_bound_at_launch");
  EXPECT_EQ(allowed("1", "0-3", kPlain), (std::vector<int>{1})) << "mpirun --oversubscribe taskset -c 1";
}

TEST(ShareOfCpus, IsSharedWithThoseThatWereGivenTheSame) {
  const auto group = make_in_process_group(4);
  const std::vector<std::vector<int>> given = {{0, 1, 2, 3}, {8}, {0, 1, 2, 3}, {9, 10}};
  std::vector<std::vector<int>> shares(4);
  std::vector<std::thread> threads;
  for (std::size_t r = 0; r < 4; ++r)
    threads.emplace_back([&, r] { shares[r] = share_of_cpus(*group[r], given[r]); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(shares, (std::vector<std::vector<int>>{{0, 1}, {8}, {2, 3}, {9, 10}}));
}

TEST(ThreadsOfLocalRank, StayWithinTheQuota) {
  EXPECT_EQ(threads_of_local_rank(64, std::nullopt, 0, 1), 64);
  EXPECT_EQ(threads_of_local_rank(64, 2.0, 0, 1), 2) << "a container of 2 CPUs on a large host";
  EXPECT_EQ(threads_of_local_rank(64, 2.5, 0, 1), 2);
  EXPECT_EQ(threads_of_local_rank(64, 0.5, 0, 1), 1);
  EXPECT_EQ(threads_of_local_rank(4, 100.0, 0, 1), 4);
  EXPECT_EQ(threads_of_local_rank(32, 3.0, 0, 2), 2);
  EXPECT_EQ(threads_of_local_rank(32, 3.0, 1, 2), 1);
  EXPECT_EQ(threads_of_local_rank(0, std::nullopt, 0, 1), 1);
}

TEST(BindToCpus, BindsTheThreadAndThoseItStarts) {
  std::thread([] {
    const std::vector<int> one{cpus_of_this_thread().back()};
    EXPECT_TRUE(bind_to_cpus(one));
    EXPECT_EQ(cpus_of_this_thread(), one);
    std::thread([&] { EXPECT_EQ(cpus_of_this_thread(), one); }).join();
  }).join();
}

TEST(BindToCpus, SaysWhenItCannot) {
  EXPECT_FALSE(bind_to_cpus({}));
  EXPECT_FALSE(bind_to_cpus({100000}));
}

}  // namespace
}  // namespace sinkstream
