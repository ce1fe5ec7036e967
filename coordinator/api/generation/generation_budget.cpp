#include "coordinator/api/generation/generation_budget.h"

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/api/served_model.h"
#include "coordinator/api/sessions/session_turn.h"

namespace sinkstream {
namespace {

// Token events of a choice that may come before the answer has taken them. A stream's reader may be slow, and
// they wait in memory; what is answered whole is bounded by its own limits.
constexpr std::int64_t kStreamCredit = 256;
constexpr std::int64_t kWholeCredit = 4096;

// Beyond a stop string that is not complete yet: parts of a character, and what steps in flight will choose.
constexpr std::int64_t kTokensAhead = 4;

constexpr std::int64_t kMaxPromptTokens = 8'388'608;  // to take in, of all the request's generations
constexpr std::int64_t kMaxWholeLogprobs = 524'288;  // in an answer that is not streamed; each ~100 B of JSON

// A stop string takes the session back to before it, by as many tokens as it has bytes at most.
void check_stops(const std::vector<std::string>& stops, const SessionShape& session) {
  if (!session.endless()) return;
  const std::int64_t slack = session.ring_capacity - session.window.window_tokens;
  const std::int64_t most = roll_back_reach(session.window, session.ring_capacity) - kTokensAhead;
  for (const std::string& stop : stops) {
    if (std::ssize(stop) <= most) continue;
    throw bad_request(
        fmt::format("'stop' has a string of {} bytes; this server takes up to {}: a session can "
                    "be taken back only within its cache's slack of {} tokens "
                    "(cache.slack_tokens).",
                    stop.size(), std::max<std::int64_t>(most, 0), slack),
        "stop");
  }
}

// No more than a session can be taken back, where a stop string may come.
std::int64_t credit_of(const GenerationOptions& options, const SessionShape& session) {
  const std::int64_t usual = options.stream ? kStreamCredit : kWholeCredit;
  if (options.stop.empty() || !session.endless()) return usual;
  return std::min(usual, roll_back_reach(session.window, session.ring_capacity));
}

}  // namespace

std::int64_t count_prompt_tokens(const GenerationSpec& spec) {
  std::int64_t tokens = 0;
  for (const Prompt& prompt : spec.prompts) tokens += static_cast<std::int64_t>(prompt.tokens.size());
  return tokens;
}

SessionShape shape_of(const GenerationSpec& spec, const EngineLimits& limits) {
  SessionShape shape = limits.session;
  if (spec.session) shape.window = spec.session->session().facts().window;
  return shape;
}

std::int64_t tokens_before(const GenerationSpec& spec) {
  return spec.session ? spec.session->tokens_before() : 0;
}

std::int64_t longest_answer(const GenerationSpec& spec, const Prompt& prompt, const EngineLimits& limits) {
  const GenerationOptions& options = spec.options;
  if (options.truncation != "disabled") return options.max_tokens;
  // The last token is chosen, and not taken in any more.
  const std::int64_t tokens = tokens_before(spec) + static_cast<std::int64_t>(prompt.tokens.size());
  return std::min(options.max_tokens, shape_of(spec, limits).remembered_tokens() - tokens + 1);
}

void check_budget(const GenerationSpec& spec, const EngineLimits& limits) {
  const GenerationOptions& options = spec.options;
  for (const Prompt& prompt : spec.prompts) {
    check_prompt_length(tokens_before(spec) + static_cast<std::int64_t>(prompt.tokens.size()),
                        options.truncation, shape_of(spec, limits));
  }
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
  check_stops(options.stop, limits.session);
  if (options.stream) return;
  std::int64_t reported = 0;
  if (options.logprobs) {
    if (options.echo) reported += prompt_tokens;
    for (const Prompt& prompt : spec.prompts) reported += options.n * longest_answer(spec, prompt, limits);
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

Generate generate_command(const GenerationSpec& spec, const EngineLimits& limits) {
  const GenerationOptions& options = spec.options;
  Generate command;
  command.n = static_cast<std::int32_t>(options.n);
  command.credit = credit_of(options, limits.session);
  TurnParams& params = command.params;
  for (const Prompt& prompt : spec.prompts) {
    command.prompts.push_back(prompt.tokens);
    params.max_tokens = std::max(params.max_tokens, longest_answer(spec, prompt, limits));
  }
  if (spec.session) command.expected_tokens = tokens_before(spec);  // whose name is to come
  params.ignore_eos = options.ignore_eos;
  params.stop_token_ids = options.stop_token_ids;
  params.sampling = options.sampling;
  params.logprobs = options.logprobs;
  params.top_logprobs = options.top_logprobs;
  const bool echoes_logprobs = options.logprobs && options.echo;
  params.prompt_logprobs = echoes_logprobs || options.prompt_logprobs;
  params.top_prompt_logprobs =
      std::max(echoes_logprobs ? options.top_logprobs : 0, options.prompt_logprobs.value_or(0));
  return command;
}

}  // namespace sinkstream
