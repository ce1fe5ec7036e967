#include "kernels/cpu/cpu_backend.h"

#include "kernels/cpu/instruction_set.h"

namespace sinkstream::kernels {

std::string CpuBackend::description() const {
  return std::string("cpu, ") + instruction_set() +
         (has_dot_units(WeightFormat::bf16) ? " with BF16 and VNNI, " : ", ") +
         std::to_string(threads_.size()) + (threads_.size() == 1 ? " thread" : " threads");
}

}  // namespace sinkstream::kernels
