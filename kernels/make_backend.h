// The backends that there are, by the names that parallel.device takes.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/gpus.h"
#include "parallel/communicator/communicator.h"

namespace sinkstream::kernels {

struct BackendOptions {
  // "cpu", "cuda", or "reference": plain and slow, the measure of the others.
  std::string device = "cpu";
  int threads = 1;  // of the cpu backend
  int gpu = 0;      // of the cuda backend, as its number has it (kernels/gpus.h)
  // Of the cuda backend: sums between ranks go through memory of the hosts, not over NCCL. Ranks may then
  // share a GPU.
  bool through_host = false;
  // How long one of its sums waits for a rank before the group is given up.
  std::chrono::milliseconds patience{60'000};
};

// All that there may be.
std::vector<std::string> device_names();
// Those that can be had on this host.
std::vector<std::string> backend_names();

// The one to take where nobody chose, and why not a GPU, or empty.
struct BestDevice {
  std::string name;
  std::string why_no_gpu;
};
BestDevice best_device();

// The GPUs that the cuda backend can use here; at least one. Throws StartupError (ExitCode::device), saying
// why there are none.
std::vector<Gpu> find_gpus();

// For people, what a device is on this host, e.g. "cpu (instruction set AVX2)".
std::string describe_device(const std::string& device);

// `group`: the ranks between which it sums and gathers; it must outlive the backend. The step loop broadcasts
// on it too, on its own thread: a backend whose queue is worked off elsewhere uses `group` only while it is
// made, and sums by means of its own. Throws std::invalid_argument for a device that there isn't, and
// StartupError (ExitCode::device) for one that is not to be had.
std::unique_ptr<Backend> make_backend(const BackendOptions& options, Communicator& group);

// Backend::packed_bytes, without a backend.
std::int64_t packed_bytes(const std::string& device, const WeightShape& shape);
// What a backend takes of its device's memory beside all that is allocated there.
std::int64_t own_bytes(const std::string& device);

// Bytes of a device's memory that may still be had: of this host's for all its ranks together, or of one GPU
// (Gpu::number). Throws as make_backend does.
std::int64_t free_device_bytes(const std::string& device, int gpu = 0);

}  // namespace sinkstream::kernels
