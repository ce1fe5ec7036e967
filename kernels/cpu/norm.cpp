// Root mean square norm and layer norm.
#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/work.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sinkstream::kernels::HWY_NAMESPACE {

float sum_of(std::span<const float> x) {
  const std::int64_t width = std::ssize(x);
  FloatVector sum = hn::Zero(Floats());
  std::int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) sum = hn::Add(sum, load(&x[i]));
  if (i < width) sum = hn::Add(sum, load_partial(&x[i], width - i));
  return sum_of_lanes(sum);
}

// Sum of (x - center)^2
float sum_of_squares(std::span<const float> x, float center) {
  const std::int64_t width = std::ssize(x);
  const FloatVector centers = hn::Set(Floats(), center);
  FloatVector sum = hn::Zero(Floats());
  std::int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    const FloatVector values = hn::Sub(load(&x[i]), centers);
    sum = hn::MulAdd(values, values, sum);
  }
  if (i < width) {  // lanes beyond the end count nothing
    const auto inside = hn::FirstN(Floats(), static_cast<std::size_t>(width - i));
    const FloatVector values = hn::IfThenElseZero(inside, hn::Sub(load_partial(&x[i], width - i), centers));
    sum = hn::MulAdd(values, values, sum);
  }
  return sum_of_lanes(sum);
}

void rms_norm_row(std::span<const float> x, std::span<const float> weight, float epsilon,
                  std::span<float> out) {
  const float mean = sum_of_squares(x, 0.0f) / static_cast<float>(x.size());
  const float scale = 1.0f / std::sqrt(mean + epsilon);
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = x[i] * scale * weight[i];
}

// moments [2]: mean, and sum of squared differences from it
void moments_of_row(std::span<const float> x, std::span<float> moments) {
  const float mean = sum_of(x) / static_cast<float>(x.size());
  moments[0] = mean;
  moments[1] = sum_of_squares(x, mean);
}

}  // namespace sinkstream::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sinkstream::kernels {

HWY_EXPORT(rms_norm_row);
HWY_EXPORT(moments_of_row);

namespace {

void normalize_row(std::span<const float> x, float mean, float scale, std::span<const float> weight,
                   std::span<const float> bias, std::span<float> out) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    out[i] = (x[i] - mean) * scale * weight[i] + (bias.empty() ? 0.0f : bias[i]);
  }
}

void layer_norm_row(std::span<const float> x, const Norm& norm, std::span<float> out) {
  std::array<float, 2> moments;
  HWY_DYNAMIC_DISPATCH(moments_of_row)(x, moments);
  const float variance = moments[1] / static_cast<float>(x.size());
  const float scale = 1.0f / std::sqrt(variance + norm.epsilon);
  normalize_row(x, moments[0], scale, host_span(norm.weight), host_span(norm.bias), out);
}

}  // namespace

void CpuBackend::do_norm(ConstMatrix x, const Norm& norm, Matrix out) {
  threads_.parallel_for(x.rows, items_per_part(x.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const auto from = host_matrix(x).row(r);
      const auto to = host_matrix(out).row(r);
      if (norm.kind == NormKind::rms) {
        HWY_DYNAMIC_DISPATCH(rms_norm_row)(from, host_span(norm.weight), norm.epsilon, to);
      } else {
        layer_norm_row(from, norm, to);
      }
    }
  });
}

void CpuBackend::do_row_moments(ConstMatrix x, std::int64_t first_column, std::int64_t columns,
                                Matrix moments) {
  threads_.parallel_for(x.rows, items_per_part(columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const auto measured = host_matrix(moments).row(r);
      if (columns == 0) {
        std::ranges::fill(measured, 0.0f);
      } else {
        const auto part = host_matrix(x).row(r).subspan(first_column, columns);
        HWY_DYNAMIC_DISPATCH(moments_of_row)(part, measured);
      }
    }
  });
}

void CpuBackend::do_normalize_columns(ConstMatrix statistics, Vector weight, Vector bias,
                                      std::int64_t first_column, Matrix x) {
  threads_.parallel_for(x.rows, items_per_part(weight.size), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const auto part = host_matrix(x).row(r).subspan(first_column, weight.size);
      const auto of_row = host_matrix(statistics).row(r);
      normalize_row(part, of_row[0], of_row[1], host_span(weight), host_span(bias), part);
    }
  });
}

}  // namespace sinkstream::kernels
#endif
