// The fields (base/wire.h) of what messages of several rooms hold.
#pragma once

#include <tuple>

#include "base/cache_geometry.h"
#include "base/sampling_params.h"
#include "base/wire.h"

namespace sinkstream {

auto fields(wire::Is<CacheWindow> auto& window) {
  auto& [sink_tokens, window_tokens] = window;
  return std::tie(sink_tokens, window_tokens);
}

auto fields(wire::Is<SamplingParams> auto& sampling) {
  auto& [temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty,
         repeat_last_n, earlier_output, seed, logit_bias, min_tokens, end_tokens] = sampling;
  return std::tie(temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty,
                  repeat_last_n, earlier_output, seed, logit_bias, min_tokens, end_tokens);
}

}  // namespace sinkstream
