// What the engine is asked to generate.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/sampling_params.h"
#include "base/token_id.h"
#include "engine/shared_tokens.h"

namespace sinkstream {

struct GenerationRequest {
  std::string id;               // unique among live requests; for cancel and logs
  SharedTokens prompt;          // at least one token, each in [0, vocab_size)
  std::int64_t max_tokens = 0;  // 0: only reads the prompt
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
