// What a step plan may ask for: checked where it arrives, and before a request becomes part of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/session_shape.h"
#include "engine/commands.h"
#include "kernels/choice.h"
#include "worker/engine/step_plan.h"

namespace sinkstream {

// What a plan may ask for at most; a rank checks each plan that it receives against them.
struct PlanLimits {
  std::int32_t num_slots = 0;
  std::int32_t num_places = 0;  // where sessions are parked, and snapshots come and go
  bool has_snapshots = false;
  std::int64_t max_rows = 0;
  std::int64_t vocab_size = 0;
  std::int32_t max_top_logprobs = kernels::kMaxTopLogprobs;
  SessionShape session;
};

// A plan as it came from the leader. Throws std::runtime_error when it is not a whole one within the limits.
StepPlan decode(std::span<const std::byte> message, const PlanLimits& limits);

// Why ranks would refuse what comes of a command, or nothing. The leader asks before it takes one in, so that
// a bad one cannot end the group.
std::optional<std::string> refusal(const Command& command, const PlanLimits& limits);

}  // namespace sinkstream
