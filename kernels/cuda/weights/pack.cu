// Weights into the layout of packed_weight.h, quantized as on the host, bit for bit.
#include "kernels/cuda/weights/packed_weight.h"
#include "kernels/quantization.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// A group's columns, also those that stand on other ranks.
struct Group {
  const float* columns;
  int count;

  __device__ bool is_finite() const {
    bool all = true;
    for (int i = 0; i < count; ++i) all = all && kernels::is_finite(columns[i]);
    return all;
  }
};

__device__ bfloat16 int8_scale_of(const Group& group) {
  if (!group.is_finite()) return no_scale();
  float largest = 0;
  for (int i = 0; i < group.count; ++i) largest = fmaxf(largest, fabsf(group.columns[i]));
  return int8_scale(largest);
}

__device__ Int4Steps int4_steps_of(const Group& group) {
  if (!group.is_finite()) return {no_scale(), no_scale()};
  float lowest = group.columns[0], highest = group.columns[0];
  for (int i = 1; i < group.count; ++i) {
    const float value = group.columns[i];
    if (value < lowest) lowest = value;
    if (!(value < highest)) highest = value;
  }
  return int4_steps(lowest, highest);
}

// `value` in steps of `scale`; 0 where steps are none.
__device__ int quantize(float value, float scale, float lowest, float highest) {
  if (!(scale > 0.0f)) return 0;
  return static_cast<int>(fminf(fmaxf(rintf(value / scale), lowest), highest));
}

struct PackTask {
  const float* rows;
  std::byte* weight;
  std::int64_t row_count;
  std::int64_t first_row;
  std::int64_t packed_columns;
  std::int64_t in_features;
  std::int64_t columns_before;
  std::int64_t groups;
};

// One thread a row's group. Neighbours take the rows of a tile, whose values stand side by side.
template <WeightFormat kFormat>
__global__ void __launch_bounds__(kThreads) pack_records(PackTask task) {
  const std::int64_t index = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const std::int64_t rows_and_group = index / kTileFeatures;
  const std::int64_t row = rows_and_group / task.groups * kTileFeatures + index % kTileFeatures;
  const std::int64_t group_index = rows_and_group % task.groups;
  if (row >= task.row_count) return;

  const std::int64_t first = group_index * kGroupInputs;
  const std::int64_t left = task.packed_columns - first;
  const Group group{task.rows + row * task.packed_columns + first,
                    static_cast<int>(left < kGroupInputs ? left : kGroupInputs)};
  const std::int64_t to_row = task.first_row + row;
  const int feature = static_cast<int>(to_row % kTileFeatures);
  std::byte* const record =
      task.weight + (to_row / kTileFeatures * task.groups + group_index) * record_bytes(kFormat);
  // 0 for columns that aren't here.
  const std::int64_t begin = task.columns_before, end = task.columns_before + task.in_features;
  const auto stands_here = [&](int i) { return first + i >= begin && first + i < end; };

  if constexpr (kFormat == WeightFormat::bf16) {
    for (int i = 0; i < kGroupInputs; i += 2) {
      const float low = stands_here(i) ? group.columns[i] : 0.0f;
      const float high = stands_here(i + 1) ? group.columns[i + 1] : 0.0f;
      // Not pack_bf16(), which knows one NaN only.
      *reinterpret_cast<std::uint32_t*>(record + Place(feature, i).bf16_offset()) =
          to_bfloat16(low).bits | static_cast<std::uint32_t>(to_bfloat16(high).bits) << 16;
    }
  } else if constexpr (kFormat == WeightFormat::int8) {
    const bfloat16 scale = int8_scale_of(group);
    *reinterpret_cast<bfloat16*>(record + scale_offset<kFormat>(feature)) = scale;
    for (int i = 0; i < kGroupInputs; ++i) {
      const int steps =
          stands_here(i) ? quantize(group.columns[i], to_float(scale), -kLargestInt8, kLargestInt8) : 0;
      *reinterpret_cast<std::int8_t*>(record + Place(feature, i).int8_offset()) =
          static_cast<std::int8_t>(steps);
    }
  } else {
    const auto [minimum, scale] = int4_steps_of(group);
    *reinterpret_cast<bfloat16*>(record + scale_offset<kFormat>(feature)) = scale;
    *reinterpret_cast<bfloat16*>(record + minimum_offset(feature)) = minimum;
    const auto steps_at = [&](int i) {
      if (!stands_here(i)) return 0;
      return quantize(group.columns[i] - to_float(minimum), to_float(scale), 0.0f, kLargestInt4);
    };
    // A byte has inputs i and i + 8.
    for (int sixteen = 0; sixteen < kGroupInputs; sixteen += 16) {
      for (int i = sixteen; i < sixteen + 8; ++i) {
        *reinterpret_cast<std::uint8_t*>(record + Place(feature, i).int4_offset()) =
            static_cast<std::uint8_t>(steps_at(i) | steps_at(i + 8) << 4);
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads) pack_f32(PackTask task) {
  const std::int64_t index = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const std::int64_t row = index / task.in_features;
  if (row >= task.row_count) return;
  float* const to =
      reinterpret_cast<float*>(task.weight) + (task.first_row + row) * f32_row_stride(task.in_features);
  to[index % task.in_features] = task.rows[index];
}

// Kernels that are launched early read a weight before the previous kernel has ended; that must not be the
// one that wrote it.
__global__ void end_of_packing() {}

}  // namespace

std::int64_t packed_bytes(const WeightShape& shape) {
  return packed_size(shape);
}

void pack(const Device& device, ConstMatrix rows, std::int64_t first_row, const WeightView& weight) {
  const WeightShape& shape = weight.shape;
  if (rows.rows == 0 || shape.in_features == 0) return;
  const PackTask task{.rows = device_pointer<const float>(rows.data),
                      .weight = device_pointer<std::byte>(weight.data),
                      .row_count = rows.rows,
                      .first_row = first_row,
                      .packed_columns = shape.packed_columns(),
                      .in_features = shape.in_features,
                      .columns_before = shape.columns_before,
                      .groups = shape.groups()};
  const auto launch_over = [&](void (*kernel)(PackTask), std::int64_t threads) {
    launch(kernel, thread_each(threads, kThreads), device.stream, task);
  };
  if (shape.format == WeightFormat::f32) {
    launch_over(pack_f32, rows.rows * shape.in_features);
  } else {
    const std::int64_t threads =
        ceil_divide<std::int64_t>(rows.rows, kTileFeatures) * kTileFeatures * task.groups;
    with_record_format(shape.format,
                       [&]<WeightFormat kFormat>() { launch_over(pack_records<kFormat>, threads); });
  }
  launch(end_of_packing, {dim3(1), dim3(1)}, device.stream);
}

}  // namespace sinkstream::kernels::cuda
