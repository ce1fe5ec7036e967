// Looks token embeddings up.
#include <algorithm>

#include "kernels/cpu/checks.h"
#include "kernels/cpu/work.h"
#include "kernels/ops.h"
#include "kernels/thread_pool.h"

namespace sinkstream::kernels {
namespace {

void copy_row(const WeightView& table, std::int64_t row, std::span<float> out) {
  const std::int64_t offset = row * table.in_features;
  if (table.dtype == DType::f32) {
    std::copy_n(static_cast<const float*>(table.data) + offset, out.size(), out.begin());
  } else {
    const bfloat16* values = static_cast<const bfloat16*>(table.data) + offset;
    std::transform(values, values + out.size(), out.begin(), [](bfloat16 value) { return to_float(value); });
  }
}

}  // namespace

void embed(Context& context, std::span<const std::int32_t> tokens, const WeightView& table,
           std::int64_t first_token, Matrix out) {
  const Checks check("embed");
  check.f32_or_bf16("table", table.dtype);
  check.equal("out.rows", out.rows, "tokens", std::ssize(tokens));
  check.equal("out.cols", out.cols, "table.in_features", table.in_features);

  context.threads.parallel_for(out.rows, items_per_part(out.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const std::int64_t row = tokens[r] - first_token;
      if (row >= 0 && row < table.out_features) {
        copy_row(table, row, out.row(r));
      } else {
        std::ranges::fill(out.row(r), 0.0f);
      }
    }
  });
}

}  // namespace sinkstream::kernels
