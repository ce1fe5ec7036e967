#include "worker/model/rotary.h"

#include <cmath>
#include <numbers>
#include <string>

#include "worker/model/strict_json.h"

namespace sinkstream {
namespace {

constexpr double kDefaultTheta = 10000.0;

std::vector<float> unscaled_frequencies(float theta, std::int64_t rotary_dim) {
  std::vector<float> frequencies;
  for (std::int64_t i = 0; i < rotary_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(rotary_dim);
    frequencies.push_back(1.0f / std::pow(theta, exponent));
  }
  return frequencies;
}

void scale_linear(std::vector<float>& frequencies, const ConfigSection& rope) {
  const auto factor = static_cast<float>(rope.number("factor"));
  for (float& frequency : frequencies) frequency /= factor;
}

// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between interpolated.
void scale_llama3(std::vector<float>& frequencies, const ConfigSection& rope) {
  const auto factor = static_cast<float>(rope.number("factor"));
  const auto low_factor = static_cast<float>(rope.number("low_freq_factor"));
  const auto high_factor = static_cast<float>(rope.number("high_freq_factor"));
  const auto trained = static_cast<float>(rope.number("original_max_position_embeddings"));
  if (high_factor <= low_factor) rope.refuse("high_freq_factor", "must be greater than low_freq_factor");

  for (float& frequency : frequencies) {
    const float wavelength = 2.0f * std::numbers::pi_v<float> / frequency;
    if (wavelength < trained / high_factor) continue;
    if (wavelength > trained / low_factor) {
      frequency /= factor;
      continue;
    }
    const float smooth = (trained / wavelength - low_factor) / (high_factor - low_factor);
    frequency = (1.0f - smooth) * frequency / factor + smooth * frequency;
  }
}

}  // namespace

std::vector<float> read_inverse_frequencies(const ConfigSection& config, std::int64_t rotary_dim) {
  const bool old_form = config.has("rope_scaling");
  const bool new_form = config.has("rope_parameters");
  const double theta = config.number_or("rope_theta", kDefaultTheta);
  if (!old_form && !new_form) return unscaled_frequencies(static_cast<float>(theta), rotary_dim);

  const ConfigSection rope = config.section(old_form ? "rope_scaling" : "rope_parameters");
  if (rope.number_or("partial_rotary_factor", 1.0) != 1.0) {
    rope.refuse("partial_rotary_factor", "partial rotary is not supported for this architecture");
  }
  auto frequencies =
      unscaled_frequencies(static_cast<float>(rope.number_or("rope_theta", theta)), rotary_dim);
  const std::string type = rope.text_or("rope_type", rope.text_or("type", "default"));
  if (type == "linear") {
    scale_linear(frequencies, rope);
  } else if (type == "llama3") {
    scale_llama3(frequencies, rope);
  } else if (type != "default") {
    rope.refuse(rope.has("rope_type") ? "rope_type" : "type",
                in_quotes(type) + " is not supported; default, linear and llama3 are");
  }
  return frequencies;
}

}  // namespace sinkstream
