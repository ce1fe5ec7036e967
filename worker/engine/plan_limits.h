// What a step plan may ask for: checked where it arrives, and before a request becomes part of one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/session_shape.h"
#include "engine/generation_request.h"
#include "kernels/choice.h"

namespace sinkstream {

struct StepPlan;

// What a plan may ask for at most; a rank checks each plan that it receives against them.
struct PlanLimits {
  std::int32_t num_slots = 0;
  std::int64_t max_rows = 0;
  std::int64_t vocab_size = 0;
  std::int32_t max_top_logprobs = kernels::kMaxTopLogprobs;
  SessionShape session;
};

// Throws std::runtime_error when the plan goes beyond the limits.
void check(const StepPlan& plan, const PlanLimits& limits);

// Why ranks would refuse the steps of a request, or nothing. The leader asks before it takes the request in,
// so that one bad request cannot end the group.
std::optional<std::string> refusal(const GenerationRequest& request, const PlanLimits& limits);

}  // namespace sinkstream
