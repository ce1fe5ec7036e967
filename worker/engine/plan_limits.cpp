#include "worker/engine/plan_limits.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <stdexcept>

namespace sinkstream {
namespace {

// Far beyond what any server has slots and a queue for; their number stays countable.
constexpr std::size_t kMaxChoices = 1 << 20;
// Far beyond any session; sums of positions and sizes stay countable.
constexpr std::int64_t kLastPosition = std::int64_t{1} << 60;

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

void check(const CacheWindow& window, const PlanLimits& limits) {
  require(window.sink_tokens >= 0 && window.sink_tokens <= limits.session.sink_capacity,
          "sinks out of range");
  require(window.window_tokens >= 1 && window.window_tokens <= limits.session.window.window_tokens,
          "window out of range");
}

bool is_slot(std::int32_t slot, const PlanLimits& limits) {
  return slot >= 0 && slot < limits.num_slots;
}

void check_standing(const Standing& standing, const PlanLimits& limits) {
  const bool in_slot = standing.where == Standing::Where::slot;
  require(standing.index >= 0 && standing.index < (in_slot ? limits.num_slots : limits.num_places),
          in_slot ? "no such slot" : "no such place");
}

void check(const OpenSlot& operation, const PlanLimits& limits) {
  check(operation.window, limits);
}
void check(const BeginTurn& operation, const PlanLimits& limits) {
  check(operation.sampling, limits);
}
void check(const SkipSlot& operation, const PlanLimits& limits) {
  require(operation.position >= 0 && limits.session.endless(), "tokens are left out where all are kept");
}
void check(const RollBackSlot& operation, const PlanLimits&) {
  require(operation.length >= 0, "negative length");
}
void check(const Snapshot& snapshot, const PlanLimits& limits) {
  check(snapshot.window, limits);
  require(snapshot.seen >= 0 && snapshot.sound_from >= 0 && snapshot.written >= snapshot.seen &&
              snapshot.written <= kLastPosition,
          "a snapshot of what no session can be");
}
void check(const WriteSnapshot& operation, const PlanLimits& limits) {
  check(operation.snapshot, limits);
}
void check(const ReadSnapshot& operation, const PlanLimits& limits) {
  check(operation.snapshot, limits);
}
void check(const SaveSession& command, const PlanLimits& limits) {
  require(limits.has_snapshots, "there is no room for snapshots (sessions.directory, sessions.parked_bytes)");
  require(command.tokens >= 0, "a negative number of tokens");
}
template <typename Other>
void check(const Other&, const PlanLimits&) {}  // there is nothing else to check, or it gets into no plan

void check_tokens(std::span<const TokenId> tokens, const PlanLimits& limits) {
  const auto is_token = [&](TokenId token) { return token >= 0 && token < limits.vocab_size; };
  require(std::all_of(tokens.begin(), tokens.end(), is_token), "a token out of range");
}

void check(const Generate& command, const PlanLimits& limits) {
  const TurnParams& params = command.params;
  const bool has_session = command.session != kNoSession;
  check(params.sampling, limits);
  require(!command.prompts.empty(), "no prompt");
  require(command.n >= 1 && command.prompts.size() * static_cast<std::size_t>(command.n) <= kMaxChoices,
          "the number of choices is out of range");
  require(!has_session || (command.prompts.size() == 1 && command.n == 1), "a session's turn is one choice");
  require(params.max_tokens >= 0, "max_tokens is negative");
  require(command.credit >= 0, "a negative credit");
  for (const SharedTokens& prompt : command.prompts) {
    require(has_session || !prompt.empty(), "no prompt");
    require(limits.session.endless() || std::ssize(prompt) <= limits.session.max_context,
            "a prompt is longer than max_context");
    check_tokens(prompt.list(), limits);
  }
  check_tokens(params.stop_token_ids, limits);
  for (const std::int32_t top : {params.top_logprobs, params.top_prompt_logprobs}) {
    require(top >= 0 && top <= limits.max_top_logprobs, "top_logprobs out of range");
  }
}
void check(const EndTurn& command, const PlanLimits& limits) {
  require(command.position >= 0, "negative position");
  check_tokens(command.pending, limits);
}
void check(const Past& past, const CacheWindow& window, const PlanLimits& limits) {
  const SessionShape& shape = limits.session;
  check_tokens(past.sinks.list(), limits);
  check_tokens(past.recent.list(), limits);
  require(past.begin >= std::ssize(past.sinks) && past.begin <= kLastPosition, "a past that begins nowhere");
  require(shape.endless() || past.tokens() <= shape.max_context, "a past is longer than max_context");
  if (!past.has_gap()) return;
  require(!past.recent.empty(), "a past that ends with what it leaves out");
  require(shape.endless() && std::ssize(past.sinks) == window.sink_tokens, "a past without its sinks");
  require(past.tokens() > sound_from(past.begin, window, shape.num_layers),
          "a past leaves out what the session's state depends on");
}
void check(const OpenSession& command, const PlanLimits& limits) {
  if (command.window) check(*command.window, limits);
  check(command.past, command.window.value_or(limits.session.window), limits);
}

void check(const StepPlan& plan, const PlanLimits& limits) {
  for (const SlotOperation& operation : plan.operations) {
    require(limits.has_snapshots || !(begins_job(operation) || std::holds_alternative<AskJob>(operation)),
            "there is no directory for snapshots");
    const auto changed = changed_by(operation);
    if (changed) check_standing(*changed, limits);
    if (const auto read = read_by(operation)) {
      check_standing(*read, limits);
      require(read != changed, "a copy of what stands there itself");
    }
    std::visit([&](const auto& o) { check(o, limits); }, operation);
  }
  require(static_cast<std::int64_t>(plan.rows.size()) <= limits.max_rows, "too many rows");
  for (const auto& row : plan.rows) {
    require(is_slot(row.slot, limits), "no such slot");
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

std::optional<std::string> refusal(const Command& command, const PlanLimits& limits) {
  try {
    std::visit([&](const auto& c) { check(c, limits); }, command);
  } catch (const std::exception& error) {
    return error.what();
  }
  return std::nullopt;
}

}  // namespace sinkstream
