// The GPUs of this host and its driver, as the module of the CUDA backend finds them, and what they are good
// for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sinkstream::kernels {

struct Gpu {
  int number = 0;      // as the CUDA runtime counts them, so as CUDA_VISIBLE_DEVICES has it
  std::string name;    // e.g. "NVIDIA H100 80GB HBM3"
  std::string uuid;    // the same for all processes that see it
  int capability = 0;  // compute capability: 90 is 9.0
  std::int64_t total_bytes = 0;
};

struct GpuSearch {
  std::vector<Gpu> gpus;
  std::string error;           // why there are none, as the CUDA runtime says it
  int needed_cuda = 0;         // version of the module's runtime: 1000 * major + 10 * minor
  int driver_cuda = 0;         // the newest that the driver can do; 0: there is no driver
  std::string driver_release;  // e.g. "580.65.06"; empty: not known
};

// Those that the module has code for, by number.
std::vector<Gpu> usable_gpus(const GpuSearch& search);

// Why there is none of them, and what to do; empty: there is one.
std::string why_no_gpu(const GpuSearch& search);

}  // namespace sinkstream::kernels
