// What the engine tells about a generation: each token, and its end.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/sampling_params.h"
#include "base/token_id.h"
#include "engine/session_usage.h"

namespace sinkstream {

struct TokenEvent {
  std::int64_t position = 0;  // absolute, from 0
  TokenId token = 0;
  bool from_prompt = false;  // prompt tokens are reported only with prompt_logprobs; the first has no logprob
  std::optional<float> logprob;
  std::vector<TokenLogprob> top;  // most likely first
  std::int64_t rank = 0;          // of a prompt token with a logprob: 1 for the likeliest; else 0
};

enum class FinishReason {
  stop,       // an end token or stop token id; it is not reported as a TokenEvent
  length,     // max_tokens, or in dense mode the end of max_context
  cancelled,  // the coordinator asked
  failed,     // by what the message says: the checkpoint's fault, or ours
  ending,     // the group is
};

struct FinishEvent {
  FinishReason reason = FinishReason::stop;
  std::string message;  // for failed and ending
  SessionUsage usage;
  std::optional<TokenId> stop_token;  // for stop: the one that ended it
};

// Receives one request's events, all from the engine's thread, on_finish exactly once and last. Must not
// block.
class GenerationListener {
 public:
  virtual ~GenerationListener() = default;
  virtual void on_token(TokenEvent event) = 0;
  virtual void on_finish(FinishEvent event) = 0;
  // A reader that does not keep up: its session sits out the next steps, keeping its place.
  virtual bool paused() const = 0;
};

}  // namespace sinkstream
