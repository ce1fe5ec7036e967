// out = x * weight^T (+ bias)
#include "kernels/cpu/checks.h"
#include "kernels/cpu/work.h"
#include "kernels/ops.h"
#include "kernels/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/dot-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sinkstream::kernels::HWY_NAMESPACE {

// Rows of x that are multiplied with all columns before the next rows: few enough to stay in the second-level
// cache while the weights stream past.
std::int64_t rows_per_block(std::int64_t in_features) {
  constexpr std::int64_t kBlockBytes = 256 * 1024;
  const std::int64_t rows = kBlockBytes / (in_features * static_cast<std::int64_t>(sizeof(float)));
  return round_up(std::max<std::int64_t>(rows, 1), kTileRows);
}

template <typename W>
void multiply(ConstMatrix x, const W* weight, std::span<const float> bias, Matrix out, std::int64_t begin,
              std::int64_t end) {
  const std::int64_t block = rows_per_block(x.cols);
  const VectorList<W> columns{weight + begin * x.cols, end - begin, x.cols};
  for (std::int64_t r = 0; r < x.rows; r += block) {
    const VectorList<float> rows{x.data + r * x.cols, std::min(block, x.rows - r), x.cols};
    dot_products(rows, columns, x.cols, out.data + r * out.cols + begin, out.cols);
  }
  if (bias.empty()) return;
  for (std::int64_t r = 0; r < out.rows; ++r) {
    for (std::int64_t c = begin; c < end; ++c) out.row(r)[c] += bias[c];
  }
}

// Output columns [begin, end)
void matmul_columns(ConstMatrix x, const WeightView& weight, std::span<const float> bias, Matrix out,
                    std::int64_t begin, std::int64_t end) {
  if (weight.dtype == DType::f32) {
    multiply(x, static_cast<const float*>(weight.data), bias, out, begin, end);
  } else {
    multiply(x, static_cast<const bfloat16*>(weight.data), bias, out, begin, end);
  }
}

}  // namespace sinkstream::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sinkstream::kernels {

HWY_EXPORT(matmul_columns);

void matmul(Context& context, ConstMatrix x, const WeightView& weight, std::span<const float> bias,
            Matrix out) {
  const Checks check("matmul");
  check.f32_or_bf16("weight", weight.dtype);
  check.range("weight.in_features", weight.in_features, 1, INT64_MAX);
  check.equal("x.cols", x.cols, "weight.in_features", weight.in_features);
  check.equal("out.rows", out.rows, "x.rows", x.rows);
  check.equal("out.cols", out.cols, "weight.out_features", weight.out_features);
  if (!bias.empty()) check.equal("bias size", std::ssize(bias), "weight.out_features", weight.out_features);
  if (x.rows == 0) return;

  const std::int64_t grain = round_up(items_per_part(x.rows * x.cols), kTileColumns);
  context.threads.parallel_for(out.cols, grain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(matmul_columns)(x, weight, bias, out, begin, end);
  });
}

}  // namespace sinkstream::kernels
#endif
