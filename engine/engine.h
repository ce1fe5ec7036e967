// The contract between coordinator and engine. The coordinator knows texts, shapes of APIs and clients; the
// engine knows tokens, sessions and steps.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/session_shape.h"
#include "base/token_id.h"
#include "engine/engine_stats.h"
#include "engine/generation_events.h"
#include "engine/generation_request.h"

namespace sinkstream {

// What requests are checked against; constant after start.
struct EngineLimits {
  std::string model_name;
  std::vector<std::string> model_aliases;  // other names for it
  std::int64_t vocab_size = 0;
  SessionShape session;
  std::optional<TokenId> sink_token;  // a sink that the model was trained with: it begins every session
  std::vector<TokenId> end_tokens;
  std::int64_t default_max_tokens = 0;
  std::int64_t max_tokens = 0;
  std::int32_t max_queue = 0;
  std::int32_t num_slots = 0;
  double stuck_seconds = 10;  // a step that takes longer ends the group
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
