// Rotary frequencies as config.json describes them.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/model/config_section.h"

namespace sinkstream {

// theta^(-2i/rotary_dim) for i in [0, rotary_dim / 2), with linear or Llama-3 scaling applied; each step
// rounded to float32, as `transformers` computes them. Reads the old keys (rope_theta, rope_scaling) and the
// new (rope_parameters). Scalings that change with the length of the text are refused.
std::vector<float> read_inverse_frequencies(const ConfigSection& config, std::int64_t rotary_dim);

}  // namespace sinkstream
