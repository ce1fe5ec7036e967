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

// Of the sessions that it is generated in: a client's session may have a window of its own.
SessionShape shape_of(const GenerationSpec& spec, const EngineLimits& limits);

// How many tokens an answer to this prompt may have: no more than the session remembers, where it must not
// forget.
std::int64_t longest_answer(const GenerationSpec& spec, const Prompt& prompt, const EngineLimits& limits);

// Throws RequestError (400): a prompt is longer than what its session remembers, where it must not forget; or
// it is more than the server could ever do, or would have to hold for one answer.
void check_budget(const GenerationSpec& spec, const EngineLimits& limits);

// All its turns; `request` is still to be given.
Generate generate_command(const GenerationSpec& spec, const EngineLimits& limits);

}  // namespace sinkstream
