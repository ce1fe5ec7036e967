// What an answer cost and what its session remembers.
#pragma once

#include "coordinator/api/generation/answer_format.h"
#include "engine/engine.h"

namespace sinkstream {

// Of several choices, `session` is the one that has seen most.
Json usage_json(std::int64_t prompt_tokens, std::int64_t completion_tokens, const SessionUsage& session);

}  // namespace sinkstream
