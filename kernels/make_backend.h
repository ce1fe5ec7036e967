// The backends that there are, by the names that parallel.device takes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "parallel/communicator/communicator.h"

namespace sinkstream::kernels {

struct BackendOptions {
  std::string device = "cpu";  // "cpu", or "reference": plain and slow, the measure of the others
  int threads = 1;             // of the cpu backend
};

std::vector<std::string> backend_names();

// For people, what a device is on this host, e.g. "cpu (instruction set AVX2)".
std::string describe_device(const std::string& device);

// `group`: the ranks between which it sums and gathers; it must outlive the backend. The step loop broadcasts
// on it too, on its own thread: a backend whose queue is worked off elsewhere uses `group` only while it is
// made, and sums by means of its own. Throws std::invalid_argument for a device that there isn't, and
// StartupError (ExitCode::device) for one that is not to be had.
std::unique_ptr<Backend> make_backend(const BackendOptions& options, Communicator& group);

// Backend::packed_bytes, without a backend.
std::int64_t packed_bytes(const std::string& device, const WeightShape& shape);

// Bytes of this device's memory that may still be had, all ranks on this host together.
std::int64_t free_device_bytes(const std::string& device);

}  // namespace sinkstream::kernels
