// Rotary position embedding.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/checks.h"
#include "kernels/cpu/work.h"
#include "kernels/ops.h"
#include "kernels/thread_pool.h"

namespace sinkstream::kernels {
namespace {

constexpr std::int64_t kStepsPerAngle = 64;  // what a sine and a cosine cost in multiply-adds, roughly

// x, out [head_dim]; cosines, sines [half]
void rotate_head(const float* x, int head_dim, std::span<const float> cosines, std::span<const float> sines,
                 float* out) {
  const std::size_t half = cosines.size();
  for (std::size_t i = 0; i < half; ++i) {
    const float first = x[i];
    const float second = x[i + half];
    out[i] = first * cosines[i] - second * sines[i];
    out[i + half] = second * cosines[i] + first * sines[i];
  }
  std::copy(x + 2 * half, x + head_dim, out + 2 * half);
}

}  // namespace

void rotary_angles(Context& context, std::span<const std::int64_t> positions,
                   std::span<const float> inverse_frequencies, Matrix cosines, Matrix sines) {
  const Checks check("rotary_angles");
  check.equal("cosines.rows", cosines.rows, "positions", std::ssize(positions));
  check.equal("sines.rows", sines.rows, "positions", std::ssize(positions));
  check.equal("cosines.cols", cosines.cols, "inverse_frequencies", std::ssize(inverse_frequencies));
  check.equal("sines.cols", sines.cols, "inverse_frequencies", std::ssize(inverse_frequencies));

  const std::int64_t grain = items_per_part(cosines.cols * kStepsPerAngle);
  context.threads.parallel_for(cosines.rows, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t i = 0; i < cosines.cols; ++i) {
        const double angle = static_cast<double>(positions[r]) * static_cast<double>(inverse_frequencies[i]);
        cosines.row(r)[i] = static_cast<float>(std::cos(angle));
        sines.row(r)[i] = static_cast<float>(std::sin(angle));
      }
    }
  });
}

void rotate(Context& context, ConstMatrix x, std::int64_t first_column, int heads, int head_dim,
            ConstMatrix cosines, ConstMatrix sines, Matrix out) {
  const std::int64_t width = static_cast<std::int64_t>(heads) * head_dim;
  const Checks check("rotate");
  check.range("heads", heads, 0, INT32_MAX);
  check.range("head_dim", head_dim, 1, INT32_MAX);
  check.range("first_column", first_column, 0, x.cols - width);
  check.range("cosines.cols", cosines.cols, 0, head_dim / 2);
  check.equal("sines.cols", sines.cols, "cosines.cols", cosines.cols);
  check.equal("cosines.rows", cosines.rows, "x.rows", x.rows);
  check.equal("sines.rows", sines.rows, "x.rows", x.rows);
  check.equal("out.rows", out.rows, "x.rows", x.rows);
  check.equal("out.cols", out.cols, "heads * head_dim", width);

  context.threads.parallel_for(x.rows, items_per_part(2 * width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* from = x.row(r).data() + first_column;
      float* to = out.row(r).data();
      for (std::int64_t i = 0; i < width; i += head_dim) {
        rotate_head(from + i, head_dim, cosines.row(r), sines.row(r), to + i);
      }
    }
  });
}

}  // namespace sinkstream::kernels
