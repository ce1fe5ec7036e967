// Norms: a block a row. How many threads it has depends on the width alone, so that a row's bits do too.
#include "kernels/cuda/block_sum.h"
#include "kernels/cuda/operations.h"

namespace sinkstream::kernels::cuda {
namespace {

unsigned threads_for(std::int64_t width) {
  return width >= 4096 ? 512 : width >= 512 ? 128 : 32;
}

LaunchShape block_a_row(std::int64_t rows, std::int64_t width) {
  return {.grid = dim3(static_cast<unsigned>(rows)), .block = dim3(threads_for(width))};
}

// Kernels take a norm's vectors as pointers; no bias: null.
struct NormWeights {
  float epsilon;
  const float* weight;
  const float* bias;
};

NormWeights weights_of(const Norm& norm) {
  return {norm.epsilon, device_pointer<const float>(norm.weight.data),
          norm.bias.empty() ? nullptr : device_pointer<const float>(norm.bias.data)};
}

// Sum of (x - mean)^2 over a row.
__device__ float sum_of_squares(const float* x, std::int64_t width, float mean) {
  float squares = 0;
  for (std::int64_t i = threadIdx.x; i < width; i += blockDim.x) {
    const float difference = x[i] - mean;
    squares += difference * difference;
  }
  return block_sum(squares);
}

__device__ float mean_of(const float* x, std::int64_t width) {
  float sum = 0;
  for (std::int64_t i = threadIdx.x; i < width; i += blockDim.x) sum += x[i];
  return block_sum(sum) / static_cast<float>(width);
}

// out = norm(x) for the block's row; a thread reads only elements that it may have written itself.
template <NormKind kKind>
__device__ void normalize(const float* x, std::int64_t width, const NormWeights& norm, float* out) {
  const float mean = kKind == NormKind::layer ? mean_of(x, width) : 0.0f;
  const float variance = sum_of_squares(x, width, mean) / static_cast<float>(width);
  const float factor = 1.0f / sqrtf(variance + norm.epsilon);
  for (std::int64_t i = threadIdx.x; i < width; i += blockDim.x) {
    const float shift = norm.bias == nullptr ? 0.0f : norm.bias[i];
    out[i] = (x[i] - mean) * factor * norm.weight[i] + shift;
  }
}

template <NormKind kKind>
__global__ void norm_kernel(const float* x, std::int64_t width, NormWeights norm, float* out) {
  const std::int64_t first = blockIdx.x * width;
  normalize<kKind>(x + first, width, norm, out + first);
}

template <NormKind kKind>
__global__ void add_and_norm_kernel(const float* partial, std::int64_t width, NormWeights norm, float* hidden,
                                    float* normed) {
  const std::int64_t first = blockIdx.x * width;
  for (std::int64_t i = threadIdx.x; i < width; i += blockDim.x) hidden[first + i] += partial[first + i];
  normalize<kKind>(hidden + first, width, norm, normed + first);
}

__global__ void row_moments_kernel(const float* x, std::int64_t width, std::int64_t first_column,
                                   std::int64_t columns, float* moments) {
  const float* const part = x + blockIdx.x * width + first_column;
  const float mean = columns == 0 ? 0.0f : mean_of(part, columns);
  const float squares = columns == 0 ? 0.0f : sum_of_squares(part, columns, mean);
  if (threadIdx.x != 0) return;
  moments[2 * blockIdx.x] = mean;
  moments[2 * blockIdx.x + 1] = squares;
}

// A thread a row (Chan et al. 1979).
__global__ void combine_moments_kernel(const float* moments, const std::int64_t* counts, std::int64_t ranks,
                                       float epsilon, std::int64_t rows, float* statistics) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  double count = 0, mean = 0, squares = 0;
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    if (counts[rank] == 0) continue;
    const auto added = static_cast<double>(counts[rank]);
    const float* const of_rank = moments + 2 * (rank * rows + row);
    const double difference = static_cast<double>(of_rank[0]) - mean;
    squares += static_cast<double>(of_rank[1]) + difference * difference * count * added / (count + added);
    count += added;
    mean += difference * added / count;
  }
  statistics[2 * row] = static_cast<float>(mean);
  statistics[2 * row + 1] = static_cast<float>(1.0 / sqrt(squares / count + static_cast<double>(epsilon)));
}

__global__ void normalize_columns_kernel(const float* statistics, const float* weight, const float* bias,
                                         std::int64_t columns, std::int64_t first_column, std::int64_t width,
                                         float* x) {
  float* const part = x + blockIdx.x * width + first_column;
  const float mean = statistics[2 * blockIdx.x];
  const float factor = statistics[2 * blockIdx.x + 1];
  for (std::int64_t i = threadIdx.x; i < columns; i += blockDim.x) {
    part[i] = (part[i] - mean) * factor * weight[i] + (bias == nullptr ? 0.0f : bias[i]);
  }
}

}  // namespace

void norm(const Device& device, ConstMatrix x, const Norm& norm, Matrix out) {
  if (x.rows == 0) return;
  const auto kernel = norm.kind == NormKind::rms ? norm_kernel<NormKind::rms> : norm_kernel<NormKind::layer>;
  launch(kernel, block_a_row(x.rows, x.cols), device.stream, device_pointer<const float>(x.data), x.cols,
         weights_of(norm), device_pointer<float>(out.data));
}

void add_and_norm(const Device& device, ConstMatrix partial, const Norm& norm, Matrix hidden, Matrix normed) {
  if (partial.rows == 0) return;
  const auto kernel =
      norm.kind == NormKind::rms ? add_and_norm_kernel<NormKind::rms> : add_and_norm_kernel<NormKind::layer>;
  launch(kernel, block_a_row(partial.rows, partial.cols), device.stream,
         device_pointer<const float>(partial.data), partial.cols, weights_of(norm),
         device_pointer<float>(hidden.data), device_pointer<float>(normed.data));
}

void row_moments(const Device& device, ConstMatrix x, std::int64_t first_column, std::int64_t columns,
                 Matrix moments) {
  if (x.rows == 0) return;
  launch(row_moments_kernel, block_a_row(x.rows, columns), device.stream, device_pointer<const float>(x.data),
         x.cols, first_column, columns, device_pointer<float>(moments.data));
}

void combine_moments(const Device& device, ConstMatrix moments, DeviceSpan<const std::int64_t> counts,
                     float epsilon, Matrix statistics) {
  if (statistics.rows == 0) return;
  constexpr unsigned kThreads = 64;
  const dim3 blocks(ceil_divide(static_cast<unsigned>(statistics.rows), kThreads));
  launch(combine_moments_kernel, {blocks, dim3(kThreads)}, device.stream,
         device_pointer<const float>(moments.data), device_pointer<const std::int64_t>(counts.data),
         counts.size, epsilon, statistics.rows, device_pointer<float>(statistics.data));
}

void normalize_columns(const Device& device, ConstMatrix statistics, Vector weight, Vector bias,
                       std::int64_t first_column, Matrix x) {
  if (x.rows == 0 || weight.empty()) return;
  launch(normalize_columns_kernel, block_a_row(x.rows, weight.size), device.stream,
         device_pointer<const float>(statistics.data), device_pointer<const float>(weight.data),
         bias.empty() ? nullptr : device_pointer<const float>(bias.data), weight.size, first_column, x.cols,
         device_pointer<float>(x.data));
}

}  // namespace sinkstream::kernels::cuda
