#include "kernels/make_backend.h"

#include <algorithm>
#include <stdexcept>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/host/host_memory.h"
#include "kernels/host/packed_weight.h"
#include "kernels/reference/reference_backend.h"

namespace sinkstream::kernels {
namespace {

void check_device(const std::string& device) {
  const std::vector<std::string> names = backend_names();
  if (std::ranges::count(names, device) > 0) return;
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  throw std::invalid_argument("there is no device \"" + device + "\"; there are " + known);
}

}  // namespace

std::vector<std::string> backend_names() {
  return {"cpu", "reference"};
}

std::string describe_device(const std::string& device) {
  check_device(device);
  return device == "cpu" ? device + " (instruction set " + instruction_set() + ")" : device;
}

std::unique_ptr<Backend> make_backend(const BackendOptions& options, Communicator& group) {
  check_device(options.device);
  if (options.device == "reference") return std::make_unique<ReferenceBackend>(group);
  return std::make_unique<CpuBackend>(options.threads, group);
}

std::int64_t packed_bytes(const std::string& device, const WeightShape& shape) {
  check_device(device);
  return host_packed_bytes(shape);
}

std::int64_t free_device_bytes(const std::string& device) {
  check_device(device);
  return free_host_memory();
}

}  // namespace sinkstream::kernels
