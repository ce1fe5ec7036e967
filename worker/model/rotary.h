// Rotary frequencies as config.json describes them.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/model/config_section.h"

namespace sinkstream {

// theta^(-2i/rotary_dim) for i in [0, rotary_dim / 2), with linear or Llama-3 scaling applied; each step
// rounded to float32, as `transformers` computes them. rotary_dim is the part `default_part` of head_dim,
// unless the file says otherwise. Reads the keys of all years: rope_theta, rotary_emb_base, rotary_pct,
// rope_scaling and rope_parameters. Scalings that change with the length of the text are refused.
std::vector<float> read_inverse_frequencies(const ConfigSection& config, std::int64_t head_dim,
                                            double default_part = 1.0);

}  // namespace sinkstream
