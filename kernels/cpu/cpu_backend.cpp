#include "kernels/cpu/cpu_backend.h"

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/work.h"
#include "kernels/host/packed_weight.h"

namespace sinkstream::kernels {

std::string CpuBackend::description() const {
  return std::string("cpu, ") + instruction_set() + (has_dot_units() ? " with BF16 and VNNI, " : ", ") +
         std::to_string(threads_.size()) + (threads_.size() == 1 ? " thread" : " threads");
}

void CpuBackend::do_pack(ConstHostMatrix rows, std::int64_t first_row, const Weight& weight) {
  const PackedWeight packed(weight);
  threads_.parallel_for(rows.rows, items_per_part(rows.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) packed.pack_row(first_row + r, rows.row(r));
  });
}

}  // namespace sinkstream::kernels
