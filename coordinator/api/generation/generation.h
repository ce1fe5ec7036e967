// Runs one API request that generates: asks the engine for all its choices together, follows its events and
// answers, streamed or whole.
#pragma once

#include <memory>

#include "coordinator/api/api_context.h"
#include "coordinator/api/generation/generation_spec.h"
#include "coordinator/http/exchange.h"

namespace sinkstream {

// Any thread; returns at once. Throws RequestError where too much is asked for (400). What the engine refuses
// is answered later: the queue is full (429), ending (503).
void start_generation(ApiContext& api, const std::shared_ptr<Exchange>& exchange, GenerationSpec spec);

}  // namespace sinkstream
