// Operations on one element at a time.
#include <algorithm>

#include "base/round_up.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/work.h"

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

// Sum of coefficients[i] * x^i, the highest first.
template <std::size_t kCount>
HWY_INLINE FloatVector polynomial(FloatVector x, const float (&coefficients)[kCount]) {
  FloatVector sum = hn::Set(Floats(), coefficients[0]);
  for (std::size_t i = 1; i < kCount; ++i) sum = hn::MulAdd(sum, x, hn::Set(Floats(), coefficients[i]));
  return sum;
}

// A rational minimax approximation of the error function in float32, as Eigen and XLA use it; off by some
// units in the last place of 1.
HWY_INLINE FloatVector erf(FloatVector x) {
  constexpr float kNumerator[] = {-2.72614225801306e-10f, 2.77068142495902e-08f,  -2.10102402082508e-06f,
                                  -5.69250639462346e-05f, -7.34990630326855e-04f, -2.95459980854025e-03f,
                                  -1.60960333262415e-02f};
  constexpr float kDenominator[] = {-1.45660718464996e-05f, -2.13374055278905e-04f, -1.68282697438203e-03f,
                                    -7.37332916720468e-03f, -1.42647390514189e-02f};
  constexpr float kOne = 4.0f;  // from here on erf is 1 in float32
  const FloatVector limited = hn::Max(hn::Min(x, hn::Set(Floats(), kOne)), hn::Set(Floats(), -kOne));
  const FloatVector square = hn::Mul(limited, limited);
  return hn::Div(hn::Mul(limited, polynomial(square, kNumerator)), polynomial(square, kDenominator));
}

struct Gelu {
  HWY_INLINE FloatVector operator()(FloatVector x) const {
    const FloatVector half = hn::Set(Floats(), 0.5f);
    const FloatVector root_half = hn::Set(Floats(), 0.70710678118654752f);
    const FloatVector twice_phi = hn::Add(hn::Set(Floats(), 1.0f), erf(hn::Mul(x, root_half)));
    return hn::Mul(hn::Mul(half, x), twice_phi);
  }
};

// 1 + tanh(y) = 2 / (1 + exp(-2y)), so the whole is x / (1 + exp(-2y)): silu with another exponent.
struct GeluTanh {
  HWY_INLINE FloatVector operator()(FloatVector x) const {
    const Floats d;
    constexpr float kRootOf2OverPi = 0.79788456080286536f;
    const FloatVector cube = hn::Mul(hn::Mul(x, x), x);
    const FloatVector inner = hn::MulAdd(hn::Set(d, 0.044715f), cube, x);
    const FloatVector exponent = hn::Mul(hn::Set(d, -2.0f * kRootOf2OverPi), inner);
    const FloatVector limited = hn::Min(exponent, hn::Set(d, 80.0f));  // exp stays finite
    return hn::Div(x, hn::Add(hn::Set(d, 1.0f), hn::Exp(d, limited)));
  }
};

template <class Function>
void map_span(Function function, const float* x, float* out, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(function(load(x + i)), out + i);
  if (i < count) store_partial(function(load_partial(x + i, count - i)), out + i, count - i);
}

void gelu_span(const float* x, float* out, std::int64_t count) {
  map_span(Gelu(), x, out, count);
}

void gelu_tanh_span(const float* x, float* out, std::int64_t count) {
  map_span(GeluTanh(), x, out, count);
}

}  // namespace sinkstream::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sinkstream::kernels {

HWY_EXPORT(silu_multiply_span);
HWY_EXPORT(gelu_span);
HWY_EXPORT(gelu_tanh_span);

namespace {

constexpr std::int64_t kStepsPerActivation = 16;  // what one costs in multiply-adds, roughly

// map_span(x, out, count) computes some elements.
void map_elements(ThreadPool& threads, ConstHostMatrix x, HostMatrix out, auto map_span) {
  const std::int64_t grain = items_per_part(kStepsPerActivation);
  threads.parallel_for(x.rows * x.cols, grain, [&](std::int64_t begin, std::int64_t end) {
    map_span(x.data + begin, out.data + begin, end - begin);
  });
}

void change_elements(ThreadPool& threads, HostMatrix x, auto change) {
  threads.parallel_for(x.rows * x.cols, kStepsPerPart, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) x.data[i] = change(x.data[i]);
  });
}

}  // namespace

void CpuBackend::do_silu_multiply(ConstMatrix gate_up, Matrix out) {
  // Rows are cut into blocks so that one long row occupies several threads.
  constexpr std::int64_t kBlock = 2048;
  const std::int64_t width = out.cols;
  const std::int64_t blocks = round_up(width, kBlock) / kBlock;
  threads_.parallel_for(out.rows * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t part = begin; part < end; ++part) {
      const std::int64_t column = part % blocks * kBlock;
      const float* gate = host_matrix(gate_up).row(part / blocks).data() + column;
      float* result = host_matrix(out).row(part / blocks).data() + column;
      HWY_DYNAMIC_DISPATCH(silu_multiply_span)(gate, gate + width, result, std::min(kBlock, width - column));
    }
  });
}

void CpuBackend::do_gelu(ConstMatrix x, Matrix out) {
  map_elements(threads_, host_matrix(x), host_matrix(out),
               [](const float* from, float* to, std::int64_t count) {
                 HWY_DYNAMIC_DISPATCH(gelu_span)(from, to, count);
               });
}

void CpuBackend::do_gelu_tanh(ConstMatrix x, Matrix out) {
  map_elements(threads_, host_matrix(x), host_matrix(out),
               [](const float* from, float* to, std::int64_t count) {
                 HWY_DYNAMIC_DISPATCH(gelu_tanh_span)(from, to, count);
               });
}

void CpuBackend::do_add(ConstMatrix y, Matrix x) {
  const float* const added = host_matrix(y).data;
  float* const sums = host_matrix(x).data;
  threads_.parallel_for(x.rows * x.cols, kStepsPerPart, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) sums[i] += added[i];
  });
}

void CpuBackend::do_scale(float factor, Matrix x) {
  change_elements(threads_, host_matrix(x), [factor](float value) { return value * factor; });
}

void CpuBackend::do_clip(float limit, Matrix x) {
  change_elements(threads_, host_matrix(x),
                  [limit](float value) { return std::clamp(value, -limit, limit); });
}

}  // namespace sinkstream::kernels
#endif
