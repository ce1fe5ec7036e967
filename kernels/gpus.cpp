#include "kernels/gpus.h"

#include <algorithm>

namespace sinkstream::kernels {
namespace {

constexpr int kOldestCapability = 80;

std::string show_cuda(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string show_capability(int capability) {
  return std::to_string(capability / 10) + "." + std::to_string(capability % 10);
}

// The first driver of each CUDA major version (CUDA 13 Release Notes, table 2).
std::string oldest_driver(int cuda_major) {
  return cuda_major == 13 ? "driver 580 or newer" : "a newer driver";
}

}  // namespace

std::vector<Gpu> usable_gpus(const GpuSearch& search) {
  std::vector<Gpu> usable;
  std::ranges::copy_if(search.gpus, std::back_inserter(usable),
                       [](const Gpu& gpu) { return gpu.capability >= kOldestCapability; });
  return usable;
}

std::string why_no_gpu(const GpuSearch& search) {
  if (!usable_gpus(search).empty()) return "";
  if (search.driver_cuda == 0) {
    return "there is no NVIDIA driver here (libcuda.so.1); a container is given it by --gpus all";
  }
  if (search.driver_cuda / 1000 < search.needed_cuda / 1000) {  // minor versions go together
    return "the NVIDIA driver" + (search.driver_release.empty() ? "" : " " + search.driver_release) +
           " does CUDA " + show_cuda(search.driver_cuda) + " at most, and this build needs " +
           show_cuda(search.needed_cuda) + ": install " + oldest_driver(search.needed_cuda / 1000);
  }
  if (search.gpus.empty()) {
    return "no GPU is to be seen" + (search.error.empty() ? "" : ": " + search.error) +
           "; CUDA_VISIBLE_DEVICES or the container may hide them";
  }
  const Gpu& gpu = search.gpus.front();
  return "the " + gpu.name + " has compute capability " + show_capability(gpu.capability) +
         ", and needed is " + show_capability(kOldestCapability) + " (A100) or newer";
}

}  // namespace sinkstream::kernels
