// The seam between coordinator and engine. The coordinator knows texts, shapes of APIs and clients; the
// engine knows tokens, sessions and steps.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/cache_geometry.h"
#include "base/token_id.h"
#include "engine/duration_histogram.h"
#include "engine/shared_tokens.h"
#include "parallel/watch/rank_status.h"

namespace sinkstream {

// How a token is chosen. Penalties count this request's output only; they, the bias and the ban of end tokens
// apply before temperature, then top_k, top_p and min_p cut in this order.
struct SamplingParams {
  float temperature = 1.0f;  // 0: the most likely token
  std::int32_t top_k = 0;    // 0: off
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::uint64_t seed = 0;  // same seed, same text
  std::vector<std::pair<TokenId, float>> logit_bias;
  // The answer has at least so many tokens: until then none that would end it is chosen.
  std::int64_t min_tokens = 0;
  std::vector<TokenId> end_tokens;  // with min_tokens; the scheduler fills it in

  bool has_penalties() const {
    return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f;
  }
};

struct GenerationRequest {
  std::string id;               // unique among live requests; for cancel and logs
  SharedTokens prompt;          // at least one token, each in [0, vocab_size)
  std::int64_t max_tokens = 0;  // 0: only reads the prompt
  bool ignore_eos = false;      // goes on past the model's end tokens
  std::vector<TokenId> stop_token_ids;
  SamplingParams sampling;
  // Log-probabilities of the raw logits: of each output token, and of each prompt token, each with so many
  // alternatives.
  bool logprobs = false;
  std::int32_t top_logprobs = 0;
  bool prompt_logprobs = false;
  std::int32_t top_prompt_logprobs = 0;
};

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
};

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

struct Submission {
  GenerationRequest request;
  std::shared_ptr<GenerationListener> listener;
  std::chrono::steady_clock::time_point submitted = std::chrono::steady_clock::now();
};

enum class SubmitResult {
  accepted,
  queue_full,  // nothing of the submission was taken
  ending,      // draining, or the group is lost
};

// What requests are checked against; constant after start.
struct EngineLimits {
  std::string model_name;
  std::vector<std::string> model_aliases;  // other names for it
  std::int64_t vocab_size = 0;
  std::int64_t max_context = 0;  // 0: endless (sink and window mode); else the most tokens a session may see
  CacheWindow window;            // in dense mode: no sinks, max_context
  std::optional<TokenId> sink_token;  // a sink that the model was trained with: it begins every session
  std::vector<TokenId> end_tokens;
  std::int64_t default_max_tokens = 0;
  std::int64_t max_tokens = 0;
  std::int32_t max_queue = 0;
  std::int32_t num_slots = 0;
  double stuck_seconds = 10;  // a step that takes longer ends the group
};

struct EngineStats {
  std::int64_t running = 0;        // sessions in slots
  std::int64_t waiting = 0;        // in the queue
  std::int64_t prompt_tokens = 0;  // taken in
  std::int64_t generated_tokens = 0;
  std::int64_t evicted_tokens = 0;
  std::int64_t resident_tokens = 0;  // in all slots now
  double seconds_since_step = 0;     // how long the present step has taken so far; 0: there is none
  std::vector<RankStatus> ranks;
  DurationHistogram steps;
  DurationHistogram queueing;  // of sessions, from submit to a slot
  DurationHistogram prefill;   // from there to the whole prompt taken in
  DurationHistogram decode;    // from the first token to the end
};

// All methods: any thread.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual const EngineLimits& limits() const = 0;
  // All of it or nothing: the choices of one API request are submitted together.
  virtual SubmitResult submit(std::vector<Submission> submissions) = 0;
  // The listener still gets its on_finish. Unknown ids are ignored.
  virtual void cancel(const std::string& id) = 0;
  virtual EngineStats stats() const = 0;
};

}  // namespace sinkstream
