// out[r] = table[tokens[r] - first_token]; zero when the token's row belongs to another rank.
#include "kernels/cuda/weights/packed_weight.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kThreads = 256;

struct EmbedTask {
  const std::int32_t* tokens;
  const std::byte* table;
  float* out;
  std::int64_t first_token;
  std::int64_t table_rows;
  std::int64_t width;
  std::int64_t columns_before;
  std::int64_t groups;
};

template <WeightFormat kFormat>
__device__ float table_value(const EmbedTask& task, std::int64_t row, std::int64_t column) {
  if constexpr (kFormat == WeightFormat::f32) {
    return reinterpret_cast<const float*>(task.table)[row * f32_row_stride(task.width) + column];
  } else {
    const std::int64_t position = task.columns_before + column;
    const std::int64_t record = row / kTileFeatures * task.groups + position / kGroupInputs;
    return read_value<kFormat>(task.table + record * record_bytes(kFormat),
                               static_cast<int>(row % kTileFeatures),
                               static_cast<int>(position % kGroupInputs));
  }
}

// One block a part of a row.
template <WeightFormat kFormat>
__global__ void __launch_bounds__(kThreads) embed_rows(EmbedTask task) {
  const std::int64_t column = std::int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (column >= task.width) return;
  const std::int64_t row = task.tokens[blockIdx.x] - task.first_token;
  const bool is_here = row >= 0 && row < task.table_rows;
  task.out[blockIdx.x * task.width + column] = is_here ? table_value<kFormat>(task, row, column) : 0.0f;
}

}  // namespace

void embed(const Device& device, DeviceSpan<const std::int32_t> tokens, const WeightView& table,
           std::int64_t first_token, Matrix out) {
  if (out.rows == 0 || out.cols == 0) return;
  const EmbedTask task{.tokens = device_pointer<const std::int32_t>(tokens.data),
                       .table = device_pointer<const std::byte>(table.data),
                       .out = device_pointer<float>(out.data),
                       .first_token = first_token,
                       .table_rows = table.shape.out_features,
                       .width = out.cols,
                       .columns_before = table.shape.columns_before,
                       .groups = table.shape.groups()};
  const LaunchShape shape{dim3(static_cast<unsigned>(out.rows),
                               static_cast<unsigned>(ceil_divide<std::int64_t>(out.cols, kThreads))),
                          dim3(kThreads)};
  if (table.shape.format == WeightFormat::f32) {
    launch(embed_rows<WeightFormat::f32>, shape, device.stream, task);
    return;
  }
  with_record_format(table.shape.format, [&]<WeightFormat kFormat>() {
    launch(embed_rows<kFormat>, shape, device.stream, task);
  });
}

}  // namespace sinkstream::kernels::cuda
