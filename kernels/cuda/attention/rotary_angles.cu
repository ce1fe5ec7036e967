// Cosines and sines of the rotary position embedding.
#include "kernels/cuda/early_launch.h"
#include "kernels/cuda/operations.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kThreads = 128;

struct SineAndCosine {
  double sine, cosine;
};

// Of an angle below 10^12, with an error far below a float's rounding. (CUDA's own take the way for any
// double along, which needs memory for each thread.)
__device__ SineAndCosine sine_and_cosine(double angle) {
  constexpr double kHalfPi[] = {1.5707963267948966, 6.123233995736766e-17};
  // The nearest multiple of pi / 2 is taken off in two steps, each rounded once, to what is left.
  const double quarters = rint(angle * (1 / kHalfPi[0]));
  const double x = __fma_rn(-quarters, kHalfPi[1], __fma_rn(-quarters, kHalfPi[0], angle));
  const double square = x * x;
  // Taylor series on [-pi / 4, pi / 4], up to terms below 10^-13.
  constexpr double kSine[] = {1.0 / 6227020800, -1.0 / 39916800, 1.0 / 362880,
                              -1.0 / 5040,      1.0 / 120,       -1.0 / 6};
  constexpr double kCosine[] = {-1.0 / 87178291200, 1.0 / 479001600, -1.0 / 3628800, 1.0 / 40320,
                                -1.0 / 720,         1.0 / 24,        -1.0 / 2};
  double sine = 0;
  for (const double coefficient : kSine) sine = __fma_rn(sine, square, coefficient);
  sine = __fma_rn(sine * square, x, x);
  double cosine = 0;
  for (const double coefficient : kCosine) cosine = __fma_rn(cosine, square, coefficient);
  cosine = __fma_rn(cosine, square, 1.0);
  switch (static_cast<long long>(quarters) & 3) {
    case 0:
      return {sine, cosine};
    case 1:
      return {cosine, -sine};
    case 2:
      return {-sine, -cosine};
    default:
      return {-cosine, sine};
  }
}

// Blocks: rows, parts of a row.
__global__ void __launch_bounds__(kThreads)
    angles(const std::int64_t* positions, const float* inverse_frequencies, int half, float* cosines,
           float* sines) {
  begin_after_previous();
  const int i = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  if (i >= half) return;
  const std::int64_t row = blockIdx.x;
  const auto position = static_cast<double>(positions[row]);
  const auto [sine, cosine] = sine_and_cosine(position * static_cast<double>(inverse_frequencies[i]));
  cosines[row * half + i] = static_cast<float>(cosine);
  sines[row * half + i] = static_cast<float>(sine);
}

}  // namespace

void rotary_angles(const Device& device, DeviceSpan<const std::int64_t> positions, Vector inverse_frequencies,
                   Matrix cosines, Matrix sines) {
  if (positions.empty() || inverse_frequencies.empty()) return;
  const auto half = static_cast<int>(inverse_frequencies.size);
  const dim3 grid(static_cast<unsigned>(positions.size), static_cast<unsigned>(ceil_divide(half, kThreads)));
  launch_early(device, angles, {grid, dim3(kThreads)}, device_pointer<const std::int64_t>(positions.data),
               device_pointer<const float>(inverse_frequencies.data), half,
               device_pointer<float>(cosines.data), device_pointer<float>(sines.data));
}

}  // namespace sinkstream::kernels::cuda
