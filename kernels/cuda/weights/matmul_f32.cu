// Weights in float32, on ordinary cores. A warp's lane l sums inputs 4l to 4l+3 of each 128, in ascending
// order, and the lanes' sums are added pairwise: lanes 16 apart first.
#include "kernels/cuda/weights/matmul_kernels.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kFeaturesOfWarp = 4;
constexpr int kVector = 4;

// Inputs [first, first + 4) of a row; zero from `end` on.
template <bool kAligned>
__device__ float4 load_inputs(const float* row, std::int64_t first, std::int64_t end) {
  if constexpr (kAligned) {
    if (first + kVector <= end) return *reinterpret_cast<const float4*>(row + first);
  }
  const auto at = [&](std::int64_t i) { return i < end ? row[i] : 0.0f; };
  return {at(first), at(first + 1), at(first + 2), at(first + 3)};
}

// A warp computes kRows rows of kFeaturesOfWarp features. What is past the last row or feature is computed
// from the last one.
template <int kRows, bool kAligned>
__global__ void __launch_bounds__(kWarps* kWarpSize) multiply_f32(MatmulTask task) {
  const int lane = lane_id();
  const int warp = warp_id();
  const std::int64_t first_feature = (std::int64_t{blockIdx.x} * kWarps + warp) * kFeaturesOfWarp;
  const std::int64_t first_row = std::int64_t{blockIdx.y} * kRows;
  const std::int64_t last_feature = task.out_features - 1, last_row = task.rows - 1;
  const std::int64_t weight_stride = f32_row_stride(task.in_features);

  const float* weights[kFeaturesOfWarp];
  for (int f = 0; f < kFeaturesOfWarp; ++f) {
    const std::int64_t feature = first_feature + f < last_feature ? first_feature + f : last_feature;
    weights[f] = reinterpret_cast<const float*>(task.weight) + feature * weight_stride;
  }
  const float* rows[kRows];
  for (int r = 0; r < kRows; ++r) {
    rows[r] = task.x + (first_row + r < last_row ? first_row + r : last_row) * task.in_features;
  }

  float sums[kRows][kFeaturesOfWarp] = {};
#pragma unroll 2
  for (std::int64_t i = lane * kVector; i < task.in_features; i += kWarpSize * kVector) {
    float4 w[kFeaturesOfWarp];
    for (int f = 0; f < kFeaturesOfWarp; ++f) w[f] = load_inputs<true>(weights[f], i, task.in_features);
    for (int r = 0; r < kRows; ++r) {
      const float4 x = load_inputs<kAligned>(rows[r], i, task.in_features);
      for (int f = 0; f < kFeaturesOfWarp; ++f) {
        float& sum = sums[r][f];
        sum = fmaf(x.x, w[f].x, sum);
        sum = fmaf(x.y, w[f].y, sum);
        sum = fmaf(x.z, w[f].z, sum);
        sum = fmaf(x.w, w[f].w, sum);
      }
    }
  }

  for (int r = 0; r < kRows; ++r) {
    for (int f = 0; f < kFeaturesOfWarp; ++f) {
      const float sum = reduce_warp(sums[r][f], Sum());
      const std::int64_t row = first_row + r, feature = first_feature + f;
      if (lane != 0 || row > last_row || feature > last_feature) continue;
      task.out[row * task.out_features + feature] = sum + (task.bias == nullptr ? 0.0f : task.bias[feature]);
    }
  }
}

template <int kRows>
void launch_f32(const Device& device, const MatmulTask& task) {
  const bool aligned = task.in_features % kVector == 0 && reinterpret_cast<std::uintptr_t>(task.x) % 16 == 0;
  const LaunchShape shape{
      dim3(static_cast<unsigned>(ceil_divide<std::int64_t>(task.out_features, kWarps * kFeaturesOfWarp)),
           static_cast<unsigned>(ceil_divide<std::int64_t>(task.rows, kRows))),
      dim3(kWarps * kWarpSize)};
  launch(aligned ? multiply_f32<kRows, true> : multiply_f32<kRows, false>, shape, device.stream, task);
}

}  // namespace

void matmul_f32(const Device& device, const MatmulTask& task) {
  if (task.rows == 1) {
    launch_f32<1>(device, task);
  } else if (task.rows <= 4) {
    launch_f32<4>(device, task);
  } else {
    launch_f32<8>(device, task);
  }
}

}  // namespace sinkstream::kernels::cuda
