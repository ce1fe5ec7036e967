#include "worker/engine/step_runner.h"

#include <stdexcept>
#include <string>

namespace sinkstream {
namespace {

// Rows whose logits are held at once: bounds their memory when a long prompt is scored.
constexpr std::size_t kLogitsBlock = 32;

[[noreturn]] void drifted(std::uint64_t number, const std::string& what) {
  throw std::runtime_error("step " + std::to_string(number) + ": " + what + "; the ranks have drifted apart");
}

}  // namespace

StepRunner::StepRunner(Model& model, Communicator& communicator, const PlanLimits& limits)
    : model_(model),
      communicator_(communicator),
      limits_(limits),
      slots_(static_cast<std::size_t>(limits.num_slots)) {}

std::vector<TokenResult> StepRunner::run(const StepPlan& plan) {
  if (plan.number != last_number_ + 1) {
    drifted(plan.number, "expected step " + std::to_string(last_number_ + 1));
  }
  last_number_ = plan.number;
  for (const auto& operation : plan.operations) apply(operation);

  std::vector<TokenResult> results;
  if (plan.rows.empty()) return results;
  const auto hidden = model_.forward(take_in(plan.rows));
  std::span<const PlanOutput> outputs(plan.outputs);
  while (!outputs.empty()) {
    const auto block = outputs.first(std::min(outputs.size(), kLogitsBlock));
    evaluate_block(plan, hidden, block, results);
    outputs = outputs.subspan(block.size());
  }
  return results;
}

void StepRunner::apply(const SlotOperation& operation) {
  Slot& slot = slots_[static_cast<std::size_t>(operation.slot)];
  if (operation.kind == SlotOperation::Kind::open) {
    if (slot.open) drifted(last_number_, "slot " + std::to_string(operation.slot) + " is open already");
    slot = {};
    slot.open = true;
    slot.window = operation.window;
    slot.sampling = operation.sampling;
  } else {
    slot = {};
    model_.cache().release(operation.slot);
  }
}

std::vector<ModelRow> StepRunner::take_in(std::span<const PlanRow> rows) {
  std::vector<ModelRow> model_rows;
  model_rows.reserve(rows.size());
  for (const auto& row : rows) {
    Slot& slot = slots_[static_cast<std::size_t>(row.slot)];
    if (!slot.open || row.position != slot.seen) {
      drifted(last_number_, "position " + std::to_string(row.position) + " in slot " +
                                std::to_string(row.slot) + " where " + std::to_string(slot.seen) +
                                " was expected");
    }
    ++slot.seen;
    const TokenId token = row.token == kLastSampled ? slot.last_sampled : row.token;
    if (token < 0) drifted(last_number_, "no token was sampled for slot " + std::to_string(row.slot));
    model_rows.push_back({row.slot, token, row.position, slot.window});
  }
  return model_rows;
}

void StepRunner::evaluate_block(const StepPlan& plan, kernels::ConstMatrix hidden,
                                std::span<const PlanOutput> outputs, std::vector<TokenResult>& results) {
  const Range vocab = model_.shard().vocab;
  std::vector<std::int32_t> selected;
  std::vector<LogitsTask> tasks;
  for (const auto& output : outputs) {
    const PlanRow& row = plan.rows[static_cast<std::size_t>(output.row)];
    const Slot& slot = slots_[static_cast<std::size_t>(row.slot)];
    selected.push_back(output.row);
    LogitsTask task;
    task.position = row.position + 1;
    task.logprobs = output.logprobs;
    task.top_logprobs = output.top_logprobs;
    if (output.kind == PlanOutput::Kind::sample) {
      task.sampling = &slot.sampling;
      if (slot.sampling.has_penalties()) task.output_counts = &slot.output_counts;
      if (slot.num_sampled < slot.sampling.min_tokens) task.banned = slot.sampling.end_tokens;
    } else {
      task.target = output.target;
    }
    tasks.push_back(task);
  }

  logits_.resize(kLogitsBlock * static_cast<std::size_t>(vocab.size()));
  const kernels::Matrix logits{logits_.data(), std::ssize(tasks), vocab.size()};
  model_.logits(hidden, selected, logits);
  const auto chosen = evaluate_logits(communicator_, logits, vocab, limits_.vocab_size, tasks);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    results.push_back(chosen[i]);
    if (!tasks[i].sampling) continue;
    Slot& slot = slots_[static_cast<std::size_t>(plan.rows[static_cast<std::size_t>(outputs[i].row)].slot)];
    slot.last_sampled = chosen[i].token;
    ++slot.num_sampled;
    if (chosen[i].token >= 0 && slot.sampling.has_penalties()) ++slot.output_counts[chosen[i].token];
  }
}

}  // namespace sinkstream
