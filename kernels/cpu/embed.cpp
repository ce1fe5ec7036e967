// Looks token embeddings up.
#include <algorithm>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/work.h"
#include "kernels/host/packed_weight.h"

namespace sinkstream::kernels {

void CpuBackend::do_embed(DeviceSpan<const std::int32_t> tokens, const Weight& table,
                          std::int64_t first_token, Matrix out) {
  const auto token_of_row = host_span(tokens);
  const PackedWeight packed(table);
  threads_.parallel_for(out.rows, items_per_part(out.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const auto embedding = host_matrix(out).row(r);
      const std::int64_t row = token_of_row[r] - first_token;
      if (row >= 0 && row < table.shape.out_features) {
        packed.read_row(row, embedding);
      } else {
        std::ranges::fill(embedding, 0.0f);
      }
    }
  });
}

}  // namespace sinkstream::kernels
