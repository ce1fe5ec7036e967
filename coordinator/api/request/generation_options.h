// What a client may ask of a generation: the parameters that all generating endpoints share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/api/api_context.h"
#include "coordinator/api/request/request_fields.h"
#include "engine/engine.h"

namespace sinkstream {

// One API request may start this many generations: prompts x n.
inline constexpr std::int64_t kMaxGenerations = 64;

struct GenerationOptions {
  std::string model;  // the name to answer with
  std::int64_t n = 1;
  std::int64_t max_tokens = 0;
  std::int64_t min_tokens = 0;  // before, neither end token nor stop string ends the answer
  SamplingParams sampling;      // choice i of a prompt uses seed + i
  std::vector<std::string> stop;
  bool include_stop = false;  // what ends the answer is shown too
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;
  bool stream = false;
  bool skip_special_tokens = true;
  bool include_usage = false;     // in a stream: a last chunk has it
  bool continuous_usage = false;  // with include_usage: every chunk has it as it is then
  bool return_token_ids = false;
  bool echo = false;  // the answer begins with the prompt
  bool logprobs = false;
  std::int32_t top_logprobs = 0;
  std::optional<std::int32_t> prompt_logprobs;  // report each prompt token, with so many alternatives
  // "auto": what does not fit in the window is forgotten; "disabled": such a prompt is refused, and an answer
  // ends before anything would be.
  std::string truncation;
};

// Reads all but max_tokens, echo, logprobs and top_logprobs, which the endpoints name differently or bound
// otherwise, and refuses what would change the result and is not supported. Throws RequestError.
GenerationOptions read_generation_options(RequestFields& fields, const ApiContext& api);

// Reads `max_completion_tokens` or its older name `max_tokens`, at least `low` (absent: the server's
// default), and `min_tokens`.
void read_length(RequestFields& fields, std::int64_t low, const ApiSettings& settings,
                 GenerationOptions& options);

// Throws RequestError (400 context_length_exceeded).
void check_prompt_length(std::int64_t prompt_tokens, const std::string& truncation,
                         const SessionShape& session);

}  // namespace sinkstream
