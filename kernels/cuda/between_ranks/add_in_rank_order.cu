#include "kernels/cuda/between_ranks/exchange.h"

namespace sinkstream::kernels::cuda {
namespace {

__global__ void add_in_rank_order_kernel(const float* parts, std::int64_t ranks, std::int64_t elements,
                                         float* sum) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= elements) return;
  float total = parts[i];
  for (std::int64_t rank = 1; rank < ranks; ++rank) total += parts[rank * elements + i];
  sum[i] = total;
}

}  // namespace

void add_in_rank_order(const Device& device, ConstMatrix parts, Matrix sum) {
  constexpr std::int64_t kThreads = 256;
  if (parts.cols == 0) return;
  launch(add_in_rank_order_kernel,
         {dim3(static_cast<unsigned>(ceil_divide(parts.cols, kThreads))), dim3(kThreads)}, device.stream,
         device_pointer<const float>(parts.data), parts.rows, parts.cols, device_pointer<float>(sum.data));
}

}  // namespace sinkstream::kernels::cuda
