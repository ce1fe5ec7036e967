// What a turn is asked for: how its tokens are chosen, when it ends, and what is told of it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/sampling_params.h"
#include "base/token_id.h"

namespace sinkstream {

struct TurnParams {
  std::int64_t max_tokens = 0;  // 0: only takes in what it is given
  bool ignore_eos = false;      // goes on past the model's end tokens
  std::vector<TokenId> stop_token_ids;
  SamplingParams sampling;
  // Log-probabilities of the raw logits: of each output token, and of each prompt token, each with so many
  // alternatives.
  bool logprobs = false;
  std::int32_t top_logprobs = 0;
  bool prompt_logprobs = false;
  std::int32_t top_prompt_logprobs = 0;
};

}  // namespace sinkstream
