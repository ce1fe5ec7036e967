// Root mean square norm and layer norm.
#include <array>
#include <cmath>

#include "kernels/cpu/checks.h"
#include "kernels/cpu/work.h"
#include "kernels/ops.h"
#include "kernels/thread_pool.h"

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

}  // namespace

void rms_norm(Context& context, ConstMatrix x, std::span<const float> weight, float epsilon, Matrix out) {
  const Checks check("rms_norm");
  check.equal("weight size", std::ssize(weight), "x.cols", x.cols);
  check.equal("out.rows", out.rows, "x.rows", x.rows);
  check.equal("out.cols", out.cols, "x.cols", x.cols);

  context.threads.parallel_for(x.rows, items_per_part(x.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      HWY_DYNAMIC_DISPATCH(rms_norm_row)(x.row(r), weight, epsilon, out.row(r));
    }
  });
}

void layer_norm(Context& context, ConstMatrix x, std::span<const float> weight, std::span<const float> bias,
                float epsilon, Matrix out) {
  const Checks check("layer_norm");
  check.range("x.cols", x.cols, 1, INT64_MAX);
  check.equal("weight size", std::ssize(weight), "x.cols", x.cols);
  if (!bias.empty()) check.equal("bias size", std::ssize(bias), "x.cols", x.cols);
  check.equal("out.rows", out.rows, "x.rows", x.rows);
  check.equal("out.cols", out.cols, "x.cols", x.cols);

  context.threads.parallel_for(x.rows, items_per_part(x.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      std::array<float, 2> moments;
      HWY_DYNAMIC_DISPATCH(moments_of_row)(x.row(r), moments);
      const float variance = moments[1] / static_cast<float>(x.cols);
      normalize_row(x.row(r), moments[0], 1.0f / std::sqrt(variance + epsilon), weight, bias, out.row(r));
    }
  });
}

void row_moments(Context& context, ConstMatrix x, std::int64_t first_column, std::int64_t columns,
                 Matrix moments) {
  const Checks check("row_moments");
  check.range("columns", columns, 1, x.cols);
  check.range("first_column", first_column, 0, x.cols - columns);
  check.equal("moments.rows", moments.rows, "x.rows", x.rows);
  check.equal("moments.cols", moments.cols, "2", 2);

  const auto first = static_cast<std::size_t>(first_column);
  context.threads.parallel_for(x.rows, items_per_part(columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const auto part = x.row(r).subspan(first, static_cast<std::size_t>(columns));
      HWY_DYNAMIC_DISPATCH(moments_of_row)(part, moments.row(r));
    }
  });
}

void normalize_columns(Context& context, ConstMatrix statistics, std::span<const float> weight,
                       std::span<const float> bias, std::int64_t first_column, Matrix x) {
  const Checks check("normalize_columns");
  check.range("weight size", std::ssize(weight), 1, x.cols);
  check.range("first_column", first_column, 0, x.cols - std::ssize(weight));
  if (!bias.empty()) check.equal("bias size", std::ssize(bias), "weight size", std::ssize(weight));
  check.equal("statistics.rows", statistics.rows, "x.rows", x.rows);
  check.equal("statistics.cols", statistics.cols, "2", 2);

  const std::int64_t grain = items_per_part(std::ssize(weight));
  context.threads.parallel_for(x.rows, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const auto part = x.row(r).subspan(static_cast<std::size_t>(first_column), weight.size());
      normalize_row(part, statistics.row(r)[0], statistics.row(r)[1], weight, bias, part);
    }
  });
}

}  // namespace sinkstream::kernels
#endif
