#include "worker/model/architectures/rotary.h"

#include <cmath>
#include <numbers>
#include <string>

#include "base/strict_json.h"

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
void scale_llama3(std::vector<float>& frequencies, const ConfigSection& config, const ConfigSection& rope) {
  const auto factor = static_cast<float>(rope.number("factor"));
  const auto low_factor = static_cast<float>(rope.number("low_freq_factor"));
  const auto high_factor = static_cast<float>(rope.number("high_freq_factor"));
  constexpr const char* kTrained = "original_max_position_embeddings";  // outside it goes before inside
  const auto trained = static_cast<float>(config.number_or(
      kTrained, rope.has(kTrained) ? rope.number(kTrained) : config.number("max_position_embeddings")));
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

// How many features of a head turn; at least two, and an even number.
std::int64_t read_rotary_dim(const ConfigSection& config, const ConfigSection& rope, std::int64_t head_dim,
                             const RotaryKeys& keys) {
  const bool in_rope = rope.has("partial_rotary_factor");
  const double part =
      in_rope ? rope.number("partial_rotary_factor") : config.number_or(keys.part, keys.default_part);
  const auto rotary_dim = static_cast<std::int64_t>(static_cast<double>(head_dim) * part);
  if (part > 1.0 || rotary_dim < 2 || rotary_dim % 2 != 0) {
    (in_rope ? rope : config)
        .refuse(in_rope ? "partial_rotary_factor" : keys.part,
                "makes " + std::to_string(rotary_dim) + " of a head's " + std::to_string(head_dim) +
                    " features rotary; an even number is needed");
  }
  return rotary_dim;
}

// The first of the two sections that holds anything.
ConfigSection rope_section(const ConfigSection& config) {
  const ConfigSection scaling = config.section_or_empty("rope_scaling");
  return scaling.is_empty() ? config.section_or_empty("rope_parameters") : scaling;
}

}  // namespace

std::vector<float> read_inverse_frequencies(const ConfigSection& config, std::int64_t head_dim,
                                            const RotaryKeys& keys) {
  const ConfigSection rope = rope_section(config);
  rope.accept_only_keys({"rope_type", "type", "rope_theta", "factor", "partial_rotary_factor",
                         "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
                        "is not supported in a rotary scaling");
  const double theta = rope.number_or("rope_theta", config.number_or(keys.theta, kDefaultTheta));
  auto frequencies =
      unscaled_frequencies(static_cast<float>(theta), read_rotary_dim(config, rope, head_dim, keys));
  const char* const type_key = rope.first_of({"rope_type", "type"});
  const std::string type = rope.text_or(type_key, "default");
  if (type == "linear") {
    scale_linear(frequencies, rope);
  } else if (type == "llama3") {
    scale_llama3(frequencies, config, rope);
  } else if (type != "default") {
    rope.refuse(type_key, in_quotes(type) + " is not supported; default, linear and llama3 are");
  }
  return frequencies;
}

}  // namespace sinkstream
