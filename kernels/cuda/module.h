// What the module libsinkstream_cuda.so exports, for kernels/load_cuda.cpp:
//   sinkstream_cuda_interface   kInterfaceId of what it was compiled with
//   sinkstream_cuda_module      to be called only where that is one's own
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/backend.h"
#include "kernels/cuda/cuda_options.h"
#include "kernels/gpus.h"
#include "parallel/communicator/communicator.h"

namespace sinkstream::kernels::cuda {

struct Module {
  GpuSearch (*find_gpus)();  // never throws
  // Free memory of a GPU, with this process's context on it made. Throws StartupError
  // (ExitCode::device).
  std::int64_t (*free_bytes)(int gpu);
  std::unique_ptr<Backend> (*make_backend)(const CudaOptions& options, Communicator& group);
};

}  // namespace sinkstream::kernels::cuda

extern "C" {
const char* sinkstream_cuda_interface();
const sinkstream::kernels::cuda::Module* sinkstream_cuda_module();
}
