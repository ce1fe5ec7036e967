// A module in the CUDA backend's place, for a machine without GPUs: it finds those that the environment
// names, and computes on none.
//   MADE_UP_GPUS     a line for each: uuid, compute capability * 10, GiB in all, GiB free, name
//   MADE_UP_DRIVER   the newest CUDA that the driver does (12040 is 12.4) and its release
//   MADE_UP_INTERFACE   what it says it was compiled with; unset: the truth
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/module.h"
#include "kernels/interface_id.h"

namespace sinkstream::kernels {
namespace {

constexpr double kGiB = 1 << 30;

std::string environment(const char* name) {
  const char* const text = std::getenv(name);
  return text == nullptr ? "" : text;
}

struct MadeUpGpu {
  Gpu gpu;
  std::int64_t free_bytes = 0;
};

std::vector<MadeUpGpu> made_up_gpus() {
  std::istringstream in(environment("MADE_UP_GPUS"));
  std::vector<MadeUpGpu> gpus;
  MadeUpGpu next;
  double total = 0;
  double free = 0;
  while (in >> next.gpu.uuid >> next.gpu.capability >> total >> free &&
         std::getline(in >> std::ws, next.gpu.name)) {
    next.gpu.number = static_cast<int>(gpus.size());
    next.gpu.total_bytes = static_cast<std::int64_t>(total * kGiB);
    next.free_bytes = static_cast<std::int64_t>(free * kGiB);
    gpus.push_back(next);
  }
  return gpus;
}

GpuSearch find_gpus() {
  GpuSearch search;
  search.needed_cuda = 13000;
  std::istringstream(environment("MADE_UP_DRIVER")) >> search.driver_cuda >> search.driver_release;
  for (const MadeUpGpu& made_up : made_up_gpus()) search.gpus.push_back(made_up.gpu);
  return search;
}

std::int64_t free_bytes(int gpu) {
  return made_up_gpus().at(static_cast<std::size_t>(gpu)).free_bytes;
}

std::unique_ptr<Backend> make_backend(const CudaOptions& options, Communicator& group) {
  std::string places;
  for (const int device : all_gather_value(group, options.device)) places += " " + std::to_string(device);
  throw StartupError(ExitCode::device, "ranks on GPUs" + places +
                                           (options.through_host ? ", through the host" : ", over NCCL") +
                                           ", which are made up");
}

}  // namespace
}  // namespace sinkstream::kernels

const char* sinkstream_cuda_interface() {
  const std::string other = sinkstream::kernels::environment("MADE_UP_INTERFACE");
  static const std::string interface = other.empty() ? sinkstream::kernels::kInterfaceId : other;
  return interface.c_str();
}

const sinkstream::kernels::cuda::Module* sinkstream_cuda_module() {
  using namespace sinkstream::kernels;
  static const cuda::Module module = {find_gpus, free_bytes, make_backend};
  return &module;
}
