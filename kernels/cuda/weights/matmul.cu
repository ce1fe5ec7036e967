// out = x * weight^T (+ bias)
#include "kernels/cuda/weights/matmul_kernels.h"

namespace sinkstream::kernels::cuda {

void matmul(const Device& device, ConstMatrix x, const WeightView& weight, Vector bias, Matrix out) {
  const WeightShape& shape = weight.shape;
  if (out.rows == 0 || out.cols == 0) return;
  const int groups = static_cast<int>(shape.groups());
  const MatmulTask task{.x = device_pointer<const float>(x.data),
                        .weight = device_pointer<const std::byte>(weight.data),
                        .bias = bias.empty() ? nullptr : device_pointer<const float>(bias.data),
                        .out = device_pointer<float>(out.data),
                        .rows = x.rows,
                        .in_features = shape.in_features,
                        .columns_before = shape.columns_before,
                        .out_features = shape.out_features,
                        .groups = groups,
                        .chunks = chunks_of(groups)};
  if (shape.format == WeightFormat::f32) {
    matmul_f32(device, task);
  } else if (task.rows <= kTileTokens && fits_decode(shape.format, task)) {
    matmul_decode(device, shape.format, task);
  } else {
    matmul_prefill(device, shape.format, task);
  }
}

}  // namespace sinkstream::kernels::cuda
