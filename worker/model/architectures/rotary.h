// Rotary frequencies as config.json describes them.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/model/architectures/config_section.h"

namespace sinkstream {

// What a family calls its numbers outside of the sections that all families share.
struct RotaryKeys {
  const char* theta = "rope_theta";
  const char* part = "partial_rotary_factor";
  double default_part = 1.0;
};

// theta^(-2i/rotary_dim) for i in [0, rotary_dim / 2), with linear or Llama-3 scaling applied; each step
// rounded to float32, as `transformers` computes them. Reads the sections of all years, rope_scaling and
// rope_parameters, whose values go before the family's own keys. What such a section holds besides, and
// scalings that change with the length of the text, are refused.
std::vector<float> read_inverse_frequencies(const ConfigSection& config, std::int64_t head_dim,
                                            const RotaryKeys& keys = {});

}  // namespace sinkstream
