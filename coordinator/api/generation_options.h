// What a client may ask of a generation: the parameters that all generating endpoints share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/api/request_fields.h"
#include "worker/engine/engine.h"

namespace sinkstream {

// One API request may start this many generations: prompts x n.
inline constexpr std::int64_t kMaxGenerations = 64;

struct GenerationOptions {
  std::int64_t n = 1;
  std::int64_t max_tokens = 0;
  SamplingParams sampling;  // choice i of a prompt uses seed + i
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;
  bool stream = false;
  bool include_usage = false;  // in a stream
  bool return_token_ids = false;
  bool echo = false;  // the answer begins with the prompt
  bool logprobs = false;
  std::int32_t top_logprobs = 0;
  // "auto": what does not fit in the window is forgotten; "disabled": such a prompt is refused, and an answer
  // ends before anything would be.
  std::string truncation;
};

// Reads all but max_tokens, echo, logprobs and top_logprobs, which the endpoints name differently, and
// refuses what would change the result and is not supported. Throws RequestError.
GenerationOptions read_generation_options(RequestFields& fields, const EngineLimits& limits);

// `max_completion_tokens` or its older name `max_tokens`, at least `low`; absent: the engine's default.
std::int64_t read_max_tokens(RequestFields& fields, std::int64_t low, const EngineLimits& limits);

// Throws RequestError (400 context_length_exceeded).
void check_prompt_length(std::int64_t prompt_tokens, const std::string& truncation,
                         const EngineLimits& limits);

}  // namespace sinkstream
