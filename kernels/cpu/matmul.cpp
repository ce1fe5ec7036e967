// out = x * weight^T (+ bias)
#include <algorithm>
#include <vector>

#include "base/round_up.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/work.h"
#include "kernels/host/packed_weight.h"

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

// Output columns [begin, end) from their `weights`, without the bias.
template <typename W>
void multiply(ConstHostMatrix x, const W* weights, HostMatrix out, std::int64_t begin, std::int64_t end) {
  const std::int64_t block = rows_per_block(x.cols);
  const VectorList<W> columns{weights, end - begin, x.cols};
  for (std::int64_t r = 0; r < x.rows; r += block) {
    const VectorList<float> rows{x.data + r * x.cols, std::min(block, x.rows - r), x.cols};
    dot_products(rows, columns, x.cols, out.data + r * out.cols + begin, out.cols);
  }
}

// The same from quantized weights: a few columns at a time are read as float32, then multiplied as such.
void multiply_quantized(ConstHostMatrix x, const PackedWeight& weight, HostMatrix out, std::int64_t begin,
                        std::int64_t end) {
  thread_local std::vector<float> columns;  // [kTileColumns, in_features]
  columns.resize(kTileColumns * x.cols);
  for (std::int64_t first = begin; first < end; first += kTileColumns) {
    const std::int64_t last = std::min(first + kTileColumns, end);
    for (std::int64_t c = first; c < last; ++c) {
      weight.read_row(c, std::span(columns).subspan((c - first) * x.cols, x.cols));
    }
    multiply(x, columns.data(), out, first, last);
  }
}

// Output columns [begin, end)
void matmul_columns(ConstHostMatrix x, const PackedWeight& weight, std::span<const float> bias,
                    HostMatrix out, std::int64_t begin, std::int64_t end) {
  switch (weight.shape().format) {
    case WeightFormat::f32:
      multiply(x, weight.values<float>() + begin * x.cols, out, begin, end);
      break;
    case WeightFormat::bf16:
      multiply(x, weight.values<bfloat16>() + begin * x.cols, out, begin, end);
      break;
    case WeightFormat::int8:
    case WeightFormat::int4:
      multiply_quantized(x, weight, out, begin, end);
      break;
  }
  if (bias.empty()) return;
  for (std::int64_t r = 0; r < out.rows; ++r) {
    for (std::int64_t c = begin; c < end; ++c) out.row(r)[c] += bias[c];
  }
}

}  // namespace sinkstream::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sinkstream::kernels {

HWY_EXPORT(matmul_columns);

void CpuBackend::do_matmul(ConstMatrix x, const Weight& weight, Vector bias, Matrix out) {
  const PackedWeight packed(weight);
  const std::int64_t grain = round_up(items_per_part(x.rows * x.cols), kTileColumns);
  threads_.parallel_for(out.cols, grain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(matmul_columns)
    (host_matrix(x), packed, host_span(bias), host_matrix(out), begin, end);
  });
}

}  // namespace sinkstream::kernels
#endif
