#include "worker/engine/plan_limits.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace sinkstream {
namespace {

void require(bool condition, const char* why) {
  if (!condition) throw std::runtime_error(why);
}

void check(const SamplingParams& sampling, const PlanLimits& limits) {
  const auto is_token = [&](TokenId token) { return token >= 0 && token < limits.vocab_size; };
  require(std::isfinite(sampling.temperature) && sampling.temperature >= 0, "temperature out of range");
  require(sampling.top_p > 0 && sampling.top_p <= 1, "top_p out of range");
  require(sampling.min_p >= 0 && sampling.min_p <= 1, "min_p out of range");
  require(sampling.repetition_penalty > 0 && std::isfinite(sampling.repetition_penalty),
          "repetition_penalty out of range");
  require(std::isfinite(sampling.presence_penalty) && std::isfinite(sampling.frequency_penalty),
          "a penalty is not finite");
  require(sampling.repeat_last_n >= -1 && sampling.repeat_last_n <= kMaxRepeatLastN,
          "repeat_last_n out of range");
  require(std::ssize(sampling.earlier_output) <= std::max(sampling.repeat_last_n, 0) &&
              std::all_of(sampling.earlier_output.begin(), sampling.earlier_output.end(), is_token),
          "the earlier output is too long, or a token of it out of range");
  for (const auto& [token, bias] : sampling.logit_bias) {
    require(is_token(token) && std::isfinite(bias), "logit_bias out of range");
  }
  require(sampling.min_tokens >= 0, "min_tokens is negative");
  require(std::all_of(sampling.end_tokens.begin(), sampling.end_tokens.end(), is_token),
          "an end token out of range");
}

void check(const StepPlan& plan, const PlanLimits& limits) {
  const auto is_slot = [&](std::int32_t slot) { return slot >= 0 && slot < limits.num_slots; };
  for (const auto& operation : plan.operations) {
    require(is_slot(operation.slot), "no such slot");
    if (operation.kind == SlotOperation::Kind::close) continue;
    require(operation.window.sink_tokens >= 0 && operation.window.sink_tokens <= limits.session.sink_capacity,
            "sinks out of range");
    require(operation.window.window_tokens >= 1 &&
                operation.window.window_tokens <= limits.session.window.window_tokens,
            "window out of range");
    check(operation.sampling, limits);
  }
  require(static_cast<std::int64_t>(plan.rows.size()) <= limits.max_rows, "too many rows");
  for (const auto& row : plan.rows) {
    require(is_slot(row.slot), "no such slot");
    require(row.token == kernels::kLastChosen || (row.token >= 0 && row.token < limits.vocab_size),
            "token out of range");
    require(row.position >= 0, "negative position");
  }
  require(plan.outputs.size() <= plan.rows.size(), "more outputs than rows");
  for (const auto& output : plan.outputs) {
    require(output.row >= 0 && static_cast<std::size_t>(output.row) < plan.rows.size(), "no such row");
    require(output.target >= 0 && output.target < limits.vocab_size, "target out of range");
    require(output.top_logprobs >= 0 && output.top_logprobs <= limits.max_top_logprobs,
            "top_logprobs out of range");
  }
}

}  // namespace

StepPlan decode(std::span<const std::byte> message, const PlanLimits& limits) {
  try {
    StepPlan plan = decode(message);
    check(plan, limits);
    return plan;
  } catch (const std::runtime_error& error) {
    throw std::runtime_error("step plan refused: " + std::string(error.what()) +
                             " (do all ranks run the same build?)");
  }
}

std::optional<std::string> refusal(const GenerationRequest& request, const PlanLimits& limits) {
  const auto is_token = [&](TokenId token) { return token >= 0 && token < limits.vocab_size; };
  try {
    check(request.sampling, limits);
    require(!request.prompt.empty(), "no prompt");
    require(std::all_of(request.prompt.begin(), request.prompt.end(), is_token), "a token out of range");
    for (const std::int32_t top : {request.top_logprobs, request.top_prompt_logprobs}) {
      require(top >= 0 && top <= limits.max_top_logprobs, "top_logprobs out of range");
    }
  } catch (const std::exception& error) {
    return error.what();
  }
  return std::nullopt;
}

}  // namespace sinkstream
