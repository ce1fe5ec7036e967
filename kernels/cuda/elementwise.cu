// Operations on one element after the other, and copies of rows.
#include "kernels/cuda/early_launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/warp.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kThreads = 256;

struct Gelu {
  __device__ float operator()(float x) const { return x * 0.5f * erfcf(-x * 0.70710678118654752440f); }
};

struct GeluTanh {
  __device__ float operator()(float x) const {
    constexpr float kRootOfTwoOverPi = 0.79788456080286535588f;
    return x * 0.5f * (1.0f + tanhf(kRootOfTwoOverPi * (x + 0.044715f * x * x * x)));
  }
};

struct Scale {
  float factor;
  __device__ float operator()(float x) const { return x * factor; }
};

struct Clip {
  float limit;
  __device__ float operator()(float x) const { return x > limit ? limit : x < -limit ? -limit : x; }
};

template <typename Function>
__global__ void map_kernel(const float* x, std::int64_t elements, Function function, float* out) {
  begin_after_previous();
  const std::int64_t i = thread_of_grid();
  if (i < elements) out[i] = function(x[i]);
}

template <typename Function>
void map(const Device& device, ConstMatrix x, const Function& function, Matrix out) {
  const std::int64_t elements = x.rows * x.cols;
  if (elements == 0) return;
  launch_early(device, map_kernel<Function>, thread_each(elements, kThreads),
               device_pointer<const float>(x.data), elements, function, device_pointer<float>(out.data));
}

__global__ void silu_multiply_kernel(const float* gate_up, std::int64_t width, std::int64_t elements,
                                     float* out) {
  begin_after_previous();
  const std::int64_t i = thread_of_grid();
  if (i >= elements) return;
  const std::int64_t row = i / width;
  const float gate = gate_up[i + row * width];
  const float up = gate_up[i + (row + 1) * width];
  const float power = expf(-fabsf(gate));  // which never overflows
  out[i] = (gate < 0 ? gate * power : gate) / (1.0f + power) * up;
}

__global__ void add_kernel(const float* y, std::int64_t elements, float* x) {
  begin_after_previous();
  const std::int64_t i = thread_of_grid();
  if (i < elements) x[i] += y[i];
}

__global__ void select_rows_kernel(const float* x, const std::int32_t* selected, std::int64_t width,
                                   std::int64_t elements, float* out) {
  begin_after_previous();
  const std::int64_t i = thread_of_grid();
  if (i < elements) out[i] = x[selected[i / width] * width + i % width];
}

}  // namespace

void silu_multiply(const Device& device, ConstMatrix gate_up, Matrix out) {
  const std::int64_t elements = out.rows * out.cols;
  if (elements == 0) return;
  launch_early(device, silu_multiply_kernel, thread_each(elements, kThreads),
               device_pointer<const float>(gate_up.data), out.cols, elements,
               device_pointer<float>(out.data));
}

void gelu(const Device& device, ConstMatrix x, Matrix out) {
  map(device, x, Gelu{}, out);
}

void gelu_tanh(const Device& device, ConstMatrix x, Matrix out) {
  map(device, x, GeluTanh{}, out);
}

void add(const Device& device, ConstMatrix y, Matrix x) {
  const std::int64_t elements = x.rows * x.cols;
  if (elements == 0) return;
  launch_early(device, add_kernel, thread_each(elements, kThreads), device_pointer<const float>(y.data),
               elements, device_pointer<float>(x.data));
}

void scale(const Device& device, float factor, Matrix x) {
  map(device, x, Scale{factor}, x);
}

void clip(const Device& device, float limit, Matrix x) {
  map(device, x, Clip{limit}, x);
}

void select_rows(const Device& device, ConstMatrix x, DeviceSpan<const std::int32_t> selected, Matrix out) {
  const std::int64_t elements = out.rows * out.cols;
  if (elements == 0) return;
  launch_early(device, select_rows_kernel, thread_each(elements, kThreads),
               device_pointer<const float>(x.data), device_pointer<const std::int32_t>(selected.data), x.cols,
               elements, device_pointer<float>(out.data));
}

}  // namespace sinkstream::kernels::cuda
