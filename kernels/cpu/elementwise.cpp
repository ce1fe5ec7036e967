// Operations on one element at a time.
#include "kernels/cpu/checks.h"
#include "kernels/cpu/work.h"
#include "kernels/ops.h"
#include "kernels/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/elementwise.cpp"
#include <hwy/foreach_target.h>

// Highway's header asks to come after foreach_target.
#include <hwy/contrib/math/math-inl.h>

#include "kernels/cpu/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sinkstream::kernels::HWY_NAMESPACE {

// x / (1 + exp(-x)), with the exponential of a number <= 0 only, so that nothing overflows.
HWY_INLINE FloatVector silu(FloatVector x) {
  const Floats d;
  const FloatVector one = hn::Set(d, 1.0f);
  const FloatVector exponential = hn::Exp(d, hn::Neg(hn::Abs(x)));
  const FloatVector numerator = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), exponential, one);
  return hn::Mul(x, hn::Div(numerator, hn::Add(one, exponential)));
}

void silu_multiply_span(const float* gate, const float* up, float* out, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(hn::Mul(silu(load(gate + i)), load(up + i)), out + i);
  if (i == count) return;
  const std::int64_t rest = count - i;
  const FloatVector values = hn::Mul(silu(load_partial(gate + i, rest)), load_partial(up + i, rest));
  store_partial(values, out + i, rest);
}

}  // namespace sinkstream::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sinkstream::kernels {

HWY_EXPORT(silu_multiply_span);

void silu_multiply(Context& context, ConstMatrix gate_up, Matrix out) {
  const Checks check("silu_multiply");
  check.equal("gate_up.rows", gate_up.rows, "out.rows", out.rows);
  check.equal("gate_up.cols", gate_up.cols, "2 * out.cols", 2 * out.cols);

  // Rows are cut into blocks so that one long row occupies several threads.
  constexpr std::int64_t kBlock = 2048;
  const std::int64_t width = out.cols;
  const std::int64_t blocks = round_up(width, kBlock) / kBlock;
  context.threads.parallel_for(out.rows * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t part = begin; part < end; ++part) {
      const std::int64_t column = part % blocks * kBlock;
      const float* gate = gate_up.row(part / blocks).data() + column;
      float* result = out.row(part / blocks).data() + column;
      HWY_DYNAMIC_DISPATCH(silu_multiply_span)(gate, gate + width, result, std::min(kBlock, width - column));
    }
  });
}

void add(Context& context, ConstMatrix y, Matrix x) {
  const Checks check("add");
  check.equal("y.rows", y.rows, "x.rows", x.rows);
  check.equal("y.cols", y.cols, "x.cols", x.cols);

  context.threads.parallel_for(x.rows * x.cols, kStepsPerPart, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) x.data[i] += y.data[i];
  });
}

}  // namespace sinkstream::kernels
#endif
