#include "kernels/make_backend.h"

#include <algorithm>
#include <stdexcept>

#include "base/error.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cuda/cuda_options.h"
#include "kernels/cuda/weights/packed_size.h"
#include "kernels/host/host_memory.h"
#include "kernels/host/packed_weight.h"
#include "kernels/load_cuda.h"
#include "kernels/reference/reference_backend.h"

namespace sinkstream::kernels {
namespace {

// Memory of a GPU that nobody counts one by one: NCCL's buffers, recorded graphs, what allocations are
// rounded up by.
constexpr std::int64_t kUncountedBytes = std::int64_t{1} << 30;

void check_device(const std::string& device) {
  const std::vector<std::string> names = device_names();
  if (std::ranges::count(names, device) > 0) return;
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  throw std::invalid_argument("there is no device \"" + device + "\"; there are " + known);
}

// Empty: there is a GPU.
std::string why_no_gpu_here() {
  try {
    find_gpus();
    return "";
  } catch (const StartupError& error) {
    return error.what();
  }
}

std::string describe_gpus() {
  if (const std::string why = why_no_gpu_here(); !why.empty()) return why;
  std::string names;
  for (const Gpu& gpu : find_gpus()) {
    names += (names.empty() ? "" : ", ") + std::to_string(gpu.number) + ": " + gpu.name;
  }
  return names;
}

}  // namespace

std::vector<std::string> device_names() {
  return {"cpu", "cuda", "reference"};
}

std::vector<std::string> backend_names() {
  std::vector<std::string> names = device_names();
  if (!why_no_gpu_here().empty()) std::erase(names, "cuda");
  return names;
}

BestDevice best_device() {
  const std::string why = why_no_gpu_here();
  return {why.empty() ? "cuda" : "cpu", why};
}

std::vector<Gpu> find_gpus() {
  const GpuSearch& search = search_gpus();
  if (const std::string why = why_no_gpu(search); !why.empty()) throw StartupError(ExitCode::device, why);
  return usable_gpus(search);
}

std::string describe_device(const std::string& device) {
  check_device(device);
  if (device == "cpu") return device + " (instruction set " + instruction_set() + ")";
  return device == "cuda" ? device + " (" + describe_gpus() + ")" : device;
}

std::unique_ptr<Backend> make_backend(const BackendOptions& options, Communicator& group) {
  check_device(options.device);
  if (options.device == "reference") return std::make_unique<ReferenceBackend>(group);
  if (options.device == "cpu") return std::make_unique<CpuBackend>(options.threads, group);
  find_gpus();
  const CudaOptions cuda = {.device = options.gpu,
                            .through_host = options.through_host,
                            .peer_patience_ms = options.patience.count()};
  return cuda_module().make_backend(cuda, group);
}

std::int64_t packed_bytes(const std::string& device, const WeightShape& shape) {
  check_device(device);
  return device == "cuda" ? cuda::packed_size(shape) : host_packed_bytes(shape);
}

std::int64_t own_bytes(const std::string& device) {
  check_device(device);
  return device == "cuda" ? CudaOptions().workspace_bytes + kUncountedBytes : 0;
}

std::int64_t free_device_bytes(const std::string& device, int gpu) {
  check_device(device);
  if (device != "cuda") return free_host_memory();
  find_gpus();
  return cuda_module().free_bytes(gpu);
}

}  // namespace sinkstream::kernels
