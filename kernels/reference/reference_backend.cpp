#include "kernels/reference/reference_backend.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "kernels/host/packed_weight.h"

namespace sinkstream::kernels {
namespace {

void rms_norm_row(std::span<const float> x, const Norm& norm, std::span<float> out) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  const double root = std::sqrt(squares / static_cast<double>(x.size()) + norm.epsilon);
  for (std::size_t i = 0; i < x.size(); ++i) {
    out[i] = static_cast<float>(x[i] / root * host_span(norm.weight)[i]);
  }
}

struct Moments {
  double mean = 0;
  double squares = 0;  // sum of squared differences from it
};

Moments moments_of(std::span<const float> x) {
  double sum = 0;
  for (const double value : x) sum += value;
  Moments moments;
  moments.mean = sum / static_cast<double>(x.size());
  for (const double value : x) moments.squares += (value - moments.mean) * (value - moments.mean);
  return moments;
}

void layer_norm_row(std::span<const float> x, const Norm& norm, std::span<float> out) {
  const auto [mean, squares] = moments_of(x);
  const double deviation = std::sqrt(squares / static_cast<double>(x.size()) + norm.epsilon);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double shift = norm.bias.empty() ? 0.0 : host_span(norm.bias)[i];
    out[i] = static_cast<float>((x[i] - mean) / deviation * host_span(norm.weight)[i] + shift);
  }
}

// out = function(x), element by element
void map(ConstMatrix x, Matrix out, double (*function)(double)) {
  const auto from = host_matrix(x);
  const auto to = host_matrix(out);
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) to.data[i] = static_cast<float>(function(from.data[i]));
}

}  // namespace

void ReferenceBackend::do_embed(DeviceSpan<const std::int32_t> tokens, const Weight& table,
                                std::int64_t first_token, Matrix out) {
  for (std::int64_t r = 0; r < out.rows; ++r) {
    const auto embedding = host_matrix(out).row(r);
    const std::int64_t row = host_span(tokens)[r] - first_token;
    if (row >= 0 && row < table.shape.out_features) {
      PackedWeight(table).read_row(row, embedding);
    } else {
      std::ranges::fill(embedding, 0.0f);
    }
  }
}

void ReferenceBackend::do_norm(ConstMatrix x, const Norm& norm, Matrix out) {
  const auto norm_row = norm.kind == NormKind::rms ? rms_norm_row : layer_norm_row;
  for (std::int64_t r = 0; r < x.rows; ++r) norm_row(host_matrix(x).row(r), norm, host_matrix(out).row(r));
}

void ReferenceBackend::do_row_moments(ConstMatrix x, std::int64_t first_column, std::int64_t columns,
                                      Matrix moments) {
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const auto part = host_matrix(x).row(r).subspan(first_column, columns);
    const auto [mean, squares] = columns == 0 ? Moments() : moments_of(part);
    host_matrix(moments).row(r)[0] = static_cast<float>(mean);
    host_matrix(moments).row(r)[1] = static_cast<float>(squares);
  }
}

void ReferenceBackend::do_normalize_columns(ConstMatrix statistics, Vector weight, Vector bias,
                                            std::int64_t first_column, Matrix x) {
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const double mean = host_matrix(statistics).row(r)[0], factor = host_matrix(statistics).row(r)[1];
    for (std::int64_t i = 0; i < weight.size; ++i) {
      float& value = host_matrix(x).row(r)[first_column + i];
      const double shift = bias.empty() ? 0.0 : host_span(bias)[i];
      value = static_cast<float>((value - mean) * factor * host_span(weight)[i] + shift);
    }
  }
}

void ReferenceBackend::do_matmul(ConstMatrix x, const Weight& weight, Vector bias, Matrix out) {
  std::vector<float> column(static_cast<std::size_t>(x.cols));
  for (std::int64_t o = 0; o < out.cols; ++o) {
    PackedWeight(weight).read_row(o, column);
    for (std::int64_t r = 0; r < x.rows; ++r) {
      double sum = bias.empty() ? 0.0 : host_span(bias)[o];
      for (std::int64_t i = 0; i < x.cols; ++i) {
        sum += static_cast<double>(host_matrix(x).row(r)[i]) * column[i];
      }
      host_matrix(out).row(r)[o] = static_cast<float>(sum);
    }
  }
}

void ReferenceBackend::do_rotary_angles(DeviceSpan<const std::int64_t> positions, Vector inverse_frequencies,
                                        Matrix cosines, Matrix sines) {
  for (std::int64_t r = 0; r < cosines.rows; ++r) {
    for (std::int64_t i = 0; i < cosines.cols; ++i) {
      const long double angle =
          static_cast<long double>(host_span(positions)[r]) * host_span(inverse_frequencies)[i];
      host_matrix(cosines).row(r)[i] = static_cast<float>(std::cos(angle));
      host_matrix(sines).row(r)[i] = static_cast<float>(std::sin(angle));
    }
  }
}

void ReferenceBackend::do_silu_multiply(ConstMatrix gate_up, Matrix out) {
  for (std::int64_t r = 0; r < out.rows; ++r) {
    const auto from = host_matrix(gate_up).row(r);
    for (std::int64_t i = 0; i < out.cols; ++i) {
      const double gate = from[i];
      host_matrix(out).row(r)[i] = static_cast<float>(gate / (1 + std::exp(-gate)) * from[out.cols + i]);
    }
  }
}

void ReferenceBackend::do_gelu(ConstMatrix x, Matrix out) {
  map(x, out, [](double value) { return value / 2 * std::erfc(-value / std::numbers::sqrt2); });
}

void ReferenceBackend::do_gelu_tanh(ConstMatrix x, Matrix out) {
  map(x, out, [](double value) {
    const double inner = std::sqrt(2 / std::numbers::pi) * (value + 0.044715 * value * value * value);
    return value / 2 * (1 + std::tanh(inner));
  });
}

void ReferenceBackend::do_add(ConstMatrix y, Matrix x) {
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) host_matrix(x).data[i] += host_matrix(y).data[i];
}

void ReferenceBackend::do_scale(float factor, Matrix x) {
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) host_matrix(x).data[i] *= factor;
}

void ReferenceBackend::do_clip(float limit, Matrix x) {
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) {
    float& value = host_matrix(x).data[i];
    value = std::clamp(value, -limit, limit);
  }
}

}  // namespace sinkstream::kernels
