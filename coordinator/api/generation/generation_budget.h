// How much one request may ask for, and what it asks the engine for.
#pragma once

#include <cstdint>

#include "coordinator/api/generation/generation_spec.h"
#include "engine/engine.h"

namespace sinkstream {

// Of its prompts, each counted once.
std::int64_t count_prompt_tokens(const GenerationSpec& spec);

// That its session has before its prompt.
std::int64_t tokens_before(const GenerationSpec& spec);

// How many tokens an answer to this prompt may have: no more than the session remembers, where it must not
// forget. `before`: tokens that its session has already.
std::int64_t longest_answer(const GenerationOptions& options, const Prompt& prompt,
                            const EngineLimits& limits, std::int64_t before = 0);

// Throws RequestError (400): more than the server could ever do, or would have to hold for one answer.
void check_budget(const GenerationSpec& spec, const EngineLimits& limits);

// All its turns; `request` is still to be given.
Generate generate_command(const GenerationSpec& spec, const EngineLimits& limits);

}  // namespace sinkstream
