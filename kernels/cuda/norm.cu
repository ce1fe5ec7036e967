// Norms: a block a row, which its threads hold in registers. How it is spread over them depends on the width
// alone, so that a row's bits do too.
#include <stdexcept>

#include "kernels/cuda/block_sum.h"
#include "kernels/cuda/early_launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/moments.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kVector = 4;  // neighbours that a thread reads at once
constexpr int kMostThreads = 1024;
constexpr int kMostVectors = 4;  // of a thread

int threads_for(std::int64_t width) {
  const std::int64_t threads = ceil_divide<std::int64_t>(width, kVector * kWarpSize) * kWarpSize;
  return static_cast<int>(threads < kMostThreads ? threads : kMostThreads);
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

// A block's row, or part of one: vector v of thread t is its (v * threads + t)-th.
template <int kVectors>
struct Row {
  float values[kVectors][kVector];

  static __device__ int first_of(int vector) {
    return (vector * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * kVector;
  }
  static __device__ bool can_be_read_whole(const float* from, int first, int width) {
    return first + kVector <= width && reinterpret_cast<std::uintptr_t>(from + first) % sizeof(float4) == 0;
  }

  // Zero behind the width.
  __device__ void read(const float* from, int width) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int first = first_of(v);
      if (can_be_read_whole(from, first, width)) {
        const float4 four = *reinterpret_cast<const float4*>(from + first);
        values[v][0] = four.x;
        values[v][1] = four.y;
        values[v][2] = four.z;
        values[v][3] = four.w;
      } else {
#pragma unroll
        for (int i = 0; i < kVector; ++i) values[v][i] = first + i < width ? from[first + i] : 0.0f;
      }
    }
  }

  __device__ void write(float* to, int width) const {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int first = first_of(v);
      if (can_be_read_whole(to, first, width)) {
        *reinterpret_cast<float4*>(to + first) =
            make_float4(values[v][0], values[v][1], values[v][2], values[v][3]);
      } else {
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
          if (first + i < width) to[first + i] = values[v][i];
        }
      }
    }
  }

  __device__ float mean(int width) const {
    float sum = 0;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) sum += values[v][i];
    }
    return block_sum(sum) / static_cast<float>(width);
  }

  // Sum of (x - mean)^2.
  __device__ float squares(int width, float mean) const {
    float sum = 0;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        const float difference = first_of(v) + i < width ? values[v][i] - mean : 0.0f;
        sum += difference * difference;
      }
    }
    return block_sum(sum);
  }
};

// A row becomes norm(row). Of short rows there are registers to read the norm's weights while sums are made.
template <NormKind kKind, int kVectors>
__device__ void normalize(Row<kVectors>& row, int width, const NormWeights& norm) {
  constexpr bool kReadsAhead = kVectors <= 2;
  Row<kVectors> weight;
  if constexpr (kReadsAhead) weight.read(norm.weight, width);
  const float mean = kKind == NormKind::layer ? row.mean(width) : 0.0f;
  const float variance = row.squares(width, mean) / static_cast<float>(width);
  const float factor = 1.0f / sqrtf(variance + norm.epsilon);
  if constexpr (!kReadsAhead) weight.read(norm.weight, width);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      row.values[v][i] = (row.values[v][i] - mean) * factor * weight.values[v][i];
    }
  }
  if (norm.bias == nullptr) return;
  Row<kVectors> bias;
  bias.read(norm.bias, width);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) row.values[v][i] += bias.values[v][i];
  }
}

template <NormKind kKind, int kVectors>
__global__ void __launch_bounds__(kMostThreads)
    norm_kernel(const float* x, int width, NormWeights norm, float* out) {
  begin_after_previous();
  Row<kVectors> row;
  row.read(x + std::int64_t{blockIdx.x} * width, width);
  normalize<kKind>(row, width, norm);
  row.write(out + std::int64_t{blockIdx.x} * width, width);
}

template <NormKind kKind, int kVectors>
__global__ void __launch_bounds__(kMostThreads)
    add_and_norm_kernel(const float* partial, int width, NormWeights norm, float* hidden, float* normed) {
  begin_after_previous();
  const std::int64_t first = std::int64_t{blockIdx.x} * width;
  Row<kVectors> row, added;
  row.read(hidden + first, width);
  added.read(partial + first, width);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) row.values[v][i] += added.values[v][i];
  }
  row.write(hidden + first, width);
  normalize<kKind>(row, width, norm);
  row.write(normed + first, width);
}

template <int kVectors>
__global__ void __launch_bounds__(kMostThreads)
    row_moments_kernel(const float* x, int width, int first_column, int columns, float* moments) {
  begin_after_previous();
  Row<kVectors> part;
  part.read(x + std::int64_t{blockIdx.x} * width + first_column, columns);
  const float mean = columns == 0 ? 0.0f : part.mean(columns);
  const float squares = part.squares(columns, mean);
  if (threadIdx.x != 0) return;
  moments[2 * blockIdx.x] = mean;
  moments[2 * blockIdx.x + 1] = squares;
}

// Calls launch.template operator()<vectors of a thread>(shape) for rows of this width.
template <typename Launch>
void for_width(std::int64_t rows, std::int64_t width, const Launch& launch) {
  const int threads = width == 0 ? kWarpSize : threads_for(width);
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>(rows)),
                             .block = dim3(static_cast<unsigned>(threads))};
  const std::int64_t vectors = ceil_divide<std::int64_t>(width, std::int64_t{kVector} * threads);
  if (vectors <= 1) {
    launch.template operator()<1>(shape);
  } else if (vectors <= 2) {
    launch.template operator()<2>(shape);
  } else if (vectors <= kMostVectors) {
    launch.template operator()<kMostVectors>(shape);
  } else {
    throw std::invalid_argument("norm: a row of " + std::to_string(width) +
                                " features is too wide for this backend");
  }
}

// A thread a row.
__global__ void combine_moments_kernel(const float* moments, const std::int64_t* counts, std::int64_t ranks,
                                       float epsilon, std::int64_t rows, float* statistics) {
  begin_after_previous();
  const std::int64_t row = thread_of_grid();
  if (row >= rows) return;
  CombinedMoments all;
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const float* const of_rank = moments + 2 * (rank * rows + row);
    all.add(counts[rank], static_cast<double>(of_rank[0]), static_cast<double>(of_rank[1]));
  }
  statistics[2 * row] = static_cast<float>(all.mean);
  statistics[2 * row + 1] =
      static_cast<float>(1.0 / sqrt(all.squares / all.count + static_cast<double>(epsilon)));
}

__global__ void normalize_columns_kernel(const float* statistics, const float* weight, const float* bias,
                                         std::int64_t columns, std::int64_t first_column, std::int64_t width,
                                         float* x) {
  begin_after_previous();
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
  for_width(x.rows, x.cols, [&]<int kVectors>(const LaunchShape& shape) {
    const auto kernel = norm.kind == NormKind::rms ? norm_kernel<NormKind::rms, kVectors>
                                                   : norm_kernel<NormKind::layer, kVectors>;
    launch_early(device, kernel, shape, device_pointer<const float>(x.data), static_cast<int>(x.cols),
                 weights_of(norm), device_pointer<float>(out.data));
  });
}

void add_and_norm(const Device& device, ConstMatrix partial, const Norm& norm, Matrix hidden, Matrix normed) {
  if (partial.rows == 0) return;
  for_width(partial.rows, partial.cols, [&]<int kVectors>(const LaunchShape& shape) {
    const auto kernel = norm.kind == NormKind::rms ? add_and_norm_kernel<NormKind::rms, kVectors>
                                                   : add_and_norm_kernel<NormKind::layer, kVectors>;
    launch_early(device, kernel, shape, device_pointer<const float>(partial.data), partial.cols,
                 weights_of(norm), device_pointer<float>(hidden.data), device_pointer<float>(normed.data));
  });
}

void row_moments(const Device& device, ConstMatrix x, std::int64_t first_column, std::int64_t columns,
                 Matrix moments) {
  if (x.rows == 0) return;
  for_width(x.rows, columns, [&]<int kVectors>(const LaunchShape& shape) {
    launch_early(device, row_moments_kernel<kVectors>, shape, device_pointer<const float>(x.data), x.cols,
                 first_column, columns, device_pointer<float>(moments.data));
  });
}

void combine_moments(const Device& device, ConstMatrix moments, DeviceSpan<const std::int64_t> counts,
                     float epsilon, Matrix statistics) {
  if (statistics.rows == 0) return;
  constexpr int kThreads = 64;
  launch_early(device, combine_moments_kernel, thread_each(statistics.rows, kThreads),
               device_pointer<const float>(moments.data), device_pointer<const std::int64_t>(counts.data),
               counts.size, epsilon, statistics.rows, device_pointer<float>(statistics.data));
}

void normalize_columns(const Device& device, ConstMatrix statistics, Vector weight, Vector bias,
                       std::int64_t first_column, Matrix x) {
  if (x.rows == 0 || weight.empty()) return;
  launch_early(device, normalize_columns_kernel, {dim3(static_cast<unsigned>(x.rows)), dim3(256)},
               device_pointer<const float>(statistics.data), device_pointer<const float>(weight.data),
               bias.empty() ? nullptr : device_pointer<const float>(bias.data), weight.size, first_column,
               x.cols, device_pointer<float>(x.data));
}

}  // namespace sinkstream::kernels::cuda
