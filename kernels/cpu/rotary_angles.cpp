// Cosines and sines of the rotary position embedding.
#include <cmath>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/work.h"

namespace sinkstream::kernels {
namespace {

constexpr std::int64_t kStepsPerAngle = 64;  // what a sine and a cosine cost in multiply-adds, roughly

}  // namespace

void CpuBackend::do_rotary_angles(DeviceSpan<const std::int64_t> positions, Vector inverse_frequencies,
                                  Matrix cosines, Matrix sines) {
  const std::int64_t grain = items_per_part(cosines.cols * kStepsPerAngle);
  threads_.parallel_for(cosines.rows, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const auto position = static_cast<double>(host_span(positions)[r]);
      for (std::int64_t i = 0; i < cosines.cols; ++i) {
        const double angle = position * static_cast<double>(host_span(inverse_frequencies)[i]);
        host_matrix(cosines).row(r)[i] = static_cast<float>(std::cos(angle));
        host_matrix(sines).row(r)[i] = static_cast<float>(std::sin(angle));
      }
    }
  });
}

}  // namespace sinkstream::kernels
