#include "kernels/cuda/between_ranks/nccl_library.h"

#include <dlfcn.h>

#include <string>

#include "base/error.h"

namespace sinkstream::kernels::cuda {
namespace {

// As ncclGetVersion counts them: 21805 is 2.18.5.
std::string show_version(int version) {
  return std::to_string(version / 10'000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

[[noreturn]] void refuse(const std::string& reason) {
  throw StartupError(ExitCode::device,
                     "NCCL, over which ranks on several GPUs talk: " + reason +
                         "; install libnccl2 (docs/gpus.md) or set parallel.communicator: mpi");
}

template <typename Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) refuse(std::string("it has no ") + name);
}

NcclLibrary load() {
  void* const library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) refuse(dlerror());
  NcclLibrary nccl;
  find(library, "ncclGetVersion", nccl.get_version);
  int version = 0;
  nccl.get_version(&version);
  if (version < kOldestNccl) {
    refuse("this one is " + show_version(version) + ", needed is " + show_version(kOldestNccl) + " or newer");
  }
  find(library, "ncclGetErrorString", nccl.get_error_string);
  find(library, "ncclGetUniqueId", nccl.get_unique_id);
  find(library, "ncclCommInitRank", nccl.comm_init_rank);
  find(library, "ncclCommAbort", nccl.comm_abort);
  find(library, "ncclCommGetAsyncError", nccl.comm_get_async_error);
  find(library, "ncclAllGather", nccl.all_gather);
  find(library, "ncclSend", nccl.send);
  find(library, "ncclRecv", nccl.receive);
  find(library, "ncclGroupStart", nccl.group_start);
  find(library, "ncclGroupEnd", nccl.group_end);
  return nccl;
}

}  // namespace

const NcclLibrary& nccl() {
  static const NcclLibrary library = load();
  return library;
}

}  // namespace sinkstream::kernels::cuda
