// Runs one API request that generates: submits all its choices together, follows their events and answers,
// streamed or whole.
#pragma once

#include <memory>
#include <vector>

#include "coordinator/api/api_context.h"
#include "coordinator/api/generation/answer_format.h"
#include "coordinator/api/request/generation_options.h"
#include "coordinator/http/exchange.h"

namespace sinkstream {

struct GenerationSpec {
  GenerationOptions options;
  std::vector<Prompt> prompts;  // choice index = prompt * n + i
  std::shared_ptr<const AnswerFormat> format;
};

// Any thread; returns at once. Throws RequestError: too much asked for (400), the queue is full (429), ending
// (503).
void start_generation(ApiContext& api, const std::shared_ptr<Exchange>& exchange, GenerationSpec spec);

}  // namespace sinkstream
