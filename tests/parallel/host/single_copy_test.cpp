#include "parallel/host/single_copy.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <string>

namespace sinkstream {
namespace {

// From here on this process and its children get EPERM, as in a container.
bool refuse_process_vm_readv() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {4, filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// What `body` returns in a process of its own, which may give up rights.
int in_child(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool is(const char* name, const char* value) {
  const char* const set = std::getenv(name);
  return set != nullptr && std::string(set) == value;
}

TEST(SingleCopy, IsAvoidedWhereItIsRefused) {
  EXPECT_EQ(in_child([] {
              if (!refuse_process_vm_readv()) return 1;
              if (can_read_between_processes()) return 2;
              avoid_refused_copies();
              const bool avoided =
                  is("OMPI_MCA_btl_vader_single_copy_mechanism", "none") && is("OMPI_MCA_smsc", "^cma");
              return avoided ? 0 : 3;
            }),
            0);
}

TEST(SingleCopy, IsLeftToTheUserWhoSaysHow) {
  EXPECT_EQ(in_child([] {
              setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "emulated", 1);
              if (!refuse_process_vm_readv()) return 1;
              avoid_refused_copies();
              return is("OMPI_MCA_btl_vader_single_copy_mechanism", "emulated") ? 0 : 2;
            }),
            0);
}

TEST(SingleCopy, NothingIsSetWhereItWorks) {
  if (!can_read_between_processes()) GTEST_SKIP() << "this machine refuses process_vm_readv";
  EXPECT_EQ(in_child([] {
              avoid_refused_copies();
              return std::getenv("OMPI_MCA_smsc") == nullptr ? 0 : 1;
            }),
            0);
}

}  // namespace
}  // namespace sinkstream
