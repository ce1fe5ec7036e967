// NCCL's functions, found when they are needed: a machine with one GPU, or none, need not have it.
#pragma once

#include <nccl.h>

namespace sinkstream::kernels::cuda {

struct NcclLibrary {
  decltype(&ncclGetVersion) get_version = nullptr;
  decltype(&ncclGetErrorString) get_error_string = nullptr;
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRank) comm_init_rank = nullptr;
  decltype(&ncclCommAbort) comm_abort = nullptr;
  decltype(&ncclCommGetAsyncError) comm_get_async_error = nullptr;
  decltype(&ncclAllGather) all_gather = nullptr;
  decltype(&ncclSend) send = nullptr;
  decltype(&ncclRecv) receive = nullptr;
  decltype(&ncclGroupStart) group_start = nullptr;
  decltype(&ncclGroupEnd) group_end = nullptr;
};

// Throws StartupError (ExitCode::device) where there is none or one older than kOldestNccl.
const NcclLibrary& nccl();

inline constexpr int kOldestNccl = 21805;  // 2.18.5: what CUDA graphs and aborts need to work together

}  // namespace sinkstream::kernels::cuda
