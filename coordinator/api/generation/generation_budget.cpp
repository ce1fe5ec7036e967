#include "coordinator/api/generation/generation_budget.h"

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/api/served_model.h"

namespace sinkstream {
namespace {

constexpr std::int64_t kMaxPromptTokens = 8'388'608;  // to take in, of all the request's generations
constexpr std::int64_t kMaxWholeLogprobs = 524'288;  // in an answer that is not streamed; each ~100 B of JSON

}  // namespace

std::int64_t count_prompt_tokens(const GenerationSpec& spec) {
  std::int64_t tokens = 0;
  for (const Prompt& prompt : spec.prompts) tokens += static_cast<std::int64_t>(prompt.tokens.size());
  return tokens;
}

std::int64_t longest_answer(const GenerationOptions& options, const Prompt& prompt,
                            const EngineLimits& limits) {
  if (options.truncation != "disabled") return options.max_tokens;
  // The last token is chosen, and not taken in any more.
  const auto prompt_tokens = static_cast<std::int64_t>(prompt.tokens.size());
  return std::min(options.max_tokens, limits.session.remembered_tokens() - prompt_tokens + 1);
}

void check_budget(const GenerationSpec& spec, const EngineLimits& limits) {
  const GenerationOptions& options = spec.options;
  const auto generations = static_cast<std::int64_t>(spec.prompts.size()) * options.n;
  const std::int64_t at_once = std::int64_t{limits.num_slots} + limits.max_queue;
  if (generations > at_once) {
    throw bad_request(fmt::format("The request asks for {} generations; this server takes {} at once: {} in "
                                  "slots and {} in the queue (engine.max_queue).",
                                  generations, at_once, limits.num_slots, limits.max_queue),
                      options.n > 1 ? "n" : "prompt");
  }
  const std::int64_t prompt_tokens = count_prompt_tokens(spec) * options.n;
  if (prompt_tokens > kMaxPromptTokens) {
    throw bad_request(fmt::format("All prompts together, times n, have {} tokens; {} are allowed.",
                                  prompt_tokens, kMaxPromptTokens),
                      "prompt");
  }
  if (options.stream) return;
  std::int64_t reported = 0;
  if (options.logprobs) {
    if (options.echo) reported += prompt_tokens;
    for (const Prompt& prompt : spec.prompts) reported += options.n * longest_answer(options, prompt, limits);
  }
  std::int64_t logprobs = reported * (1 + options.top_logprobs);
  if (options.prompt_logprobs) logprobs += prompt_tokens * (1 + *options.prompt_logprobs);
  if (logprobs > kMaxWholeLogprobs) {
    throw bad_request(
        fmt::format("The answer could hold {} log-probabilities; {} are allowed. Stream it, or lower "
                    "max_tokens, n or the number of alternatives.",
                    logprobs, kMaxWholeLogprobs),
        options.logprobs ? "logprobs" : "prompt_logprobs");
  }
}

}  // namespace sinkstream
