// A rank alone with a backend that computes in this host's memory, so that a test may look at what it holds.
#pragma once

#include <memory>
#include <vector>

#include "kernels/host/host_backend.h"
#include "kernels/host/packed_weight.h"
#include "kernels/make_backend.h"
#include "parallel/communicator/in_process.h"

namespace sinkstream {

struct HostBackendAlone {
  std::vector<std::unique_ptr<Communicator>> group = make_in_process_group(1);
  std::unique_ptr<kernels::Backend> backend =
      kernels::make_backend({.device = "cpu", .threads = 1}, *group[0]);
};

inline std::vector<float> row_of(const kernels::Weight& weight, std::int64_t row) {
  std::vector<float> values(static_cast<std::size_t>(weight.shape.in_features));
  kernels::PackedWeight(weight).read_row(row, values);
  return values;
}

inline float element_of(kernels::Vector vector, std::int64_t index) {
  return kernels::host_pointer<const float>(vector.data)[index];
}

}  // namespace sinkstream
