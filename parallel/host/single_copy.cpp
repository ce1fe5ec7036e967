#include "parallel/host/single_copy.h"

#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace sinkstream {

bool can_read_between_processes() {
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);  // as OpenMPI does itself, for Yama
  static constexpr int kHere = 42;
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) return true;  // not known
  if (child == 0) {
    int copy = 0;
    iovec local = {&copy, sizeof copy};
    iovec remote = {const_cast<int*>(&kHere), sizeof kHere};
    const bool copied = process_vm_readv(parent, &local, 1, &remote, 1, 0) == sizeof copy && copy == kHere;
    _exit(copied ? 0 : 1);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void avoid_refused_copies() {
  if (can_read_between_processes()) return;
  constexpr int kKeep = 0;
  setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", kKeep);  // OpenMPI 4
  setenv("OMPI_MCA_smsc", "^cma", kKeep);                             // OpenMPI 5
}

}  // namespace sinkstream
