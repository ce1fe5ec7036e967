// Root mean square norm.
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

float sum_of_squares(std::span<const float> x) {
  const std::int64_t width = std::ssize(x);
  FloatVector sum = hn::Zero(Floats());
  std::int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    const FloatVector values = load(&x[i]);
    sum = hn::MulAdd(values, values, sum);
  }
  if (i < width) {
    const FloatVector values = load_partial(&x[i], width - i);
    sum = hn::MulAdd(values, values, sum);
  }
  return sum_of_lanes(sum);
}

void rms_norm_row(std::span<const float> x, std::span<const float> weight, float epsilon,
                  std::span<float> out) {
  const float mean = sum_of_squares(x) / static_cast<float>(x.size());
  const float scale = 1.0f / std::sqrt(mean + epsilon);
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = x[i] * scale * weight[i];
}

}  // namespace sinkstream::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sinkstream::kernels {

HWY_EXPORT(rms_norm_row);

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

}  // namespace sinkstream::kernels
#endif
