#include "kernels/cuda/between_ranks/exchange.h"
#include "kernels/cuda/warp.h"

namespace sinkstream::kernels::cuda {
namespace {

__global__ void add_in_rank_order_kernel(const float* parts, std::int64_t ranks, std::int64_t elements,
                                         float* sum) {
  const std::int64_t i = thread_of_grid();
  if (i >= elements) return;
  float total = parts[i];
  for (std::int64_t rank = 1; rank < ranks; ++rank) total += parts[rank * elements + i];
  sum[i] = total;
}

}  // namespace

void add_in_rank_order(const Device& device, ConstMatrix parts, Matrix sum) {
  constexpr int kThreads = 256;
  if (parts.cols == 0) return;
  launch(add_in_rank_order_kernel, thread_each(parts.cols, kThreads), device.stream,
         device_pointer<const float>(parts.data), parts.rows, parts.cols, device_pointer<float>(sum.data));
}

}  // namespace sinkstream::kernels::cuda
