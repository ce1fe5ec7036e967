// The module's exports.
#include "kernels/cuda/module.h"

#include <cuda_runtime.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "base/error.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/interface_id.h"

namespace sinkstream::kernels::cuda {
namespace {

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 ..." gives "580.65.06".
std::string driver_release() {
  std::ifstream in("/proc/driver/nvidia/version");
  for (std::string word; in >> word;) {
    if (word.find_first_not_of("0123456789.") == word.npos && word.find('.') != word.npos) return word;
  }
  return "";
}

std::string uuid_text(const cudaUUID_t& uuid) {
  std::string text;
  for (const char byte : uuid.bytes) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned>(static_cast<unsigned char>(byte)));
    text += hex;
  }
  return text;
}

GpuSearch find_gpus() {
  GpuSearch search;
  search.driver_release = driver_release();
  cudaRuntimeGetVersion(&search.needed_cuda);
  cudaDriverGetVersion(&search.driver_cuda);
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  for (int number = 0; number < count && error == cudaSuccess; ++number) {
    cudaDeviceProp properties{};
    error = cudaGetDeviceProperties(&properties, number);
    if (error != cudaSuccess) break;
    search.gpus.push_back({number, properties.name, uuid_text(properties.uuid),
                           10 * properties.major + properties.minor,
                           static_cast<std::int64_t>(properties.totalGlobalMem)});
  }
  if (error != cudaSuccess) search.error = cudaGetErrorString(error);
  cudaGetLastError();  // which later calls would be blamed for
  return search;
}

std::int64_t free_bytes(int gpu) {
  std::size_t free = 0;
  std::size_t total = 0;
  cudaError_t error = cudaSetDevice(gpu);
  if (error == cudaSuccess) error = cudaMemGetInfo(&free, &total);
  if (error != cudaSuccess) {
    throw StartupError(ExitCode::device,
                       "GPU " + std::to_string(gpu) + " does not say what memory is free: " + cudaGetErrorString(error));
  }
  return static_cast<std::int64_t>(free);
}

std::unique_ptr<Backend> make_backend(const CudaOptions& options, Communicator& group) {
  return std::make_unique<CudaBackend>(options, group);
}

}  // namespace
}  // namespace sinkstream::kernels::cuda

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED const char* sinkstream_cuda_interface() {
  return sinkstream::kernels::kInterfaceId;
}
EXPORTED const sinkstream::kernels::cuda::Module* sinkstream_cuda_module() {
  using namespace sinkstream::kernels::cuda;
  static const Module module = {find_gpus, free_bytes, make_backend};
  return &module;
}
