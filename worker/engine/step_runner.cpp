#include "worker/engine/step_runner.h"

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include "parallel/communicator/communicator.h"

namespace sinkstream {
namespace {

[[noreturn]] void drifted(std::uint64_t number, const std::string& what) {
  throw std::runtime_error("step " + std::to_string(number) + ": " + what + "; the ranks have drifted apart");
}

}  // namespace

StepRunner::StepRunner(Model& model, const PlanLimits& limits, SnapshotFiles* snapshots)
    : model_(model),
      limits_(limits),
      snapshots_(snapshots),
      slots_(static_cast<std::size_t>(limits.num_slots)),
      places_(static_cast<std::size_t>(limits.num_places)),
      choices_(kernels::allocate_array<kernels::Choice>(model.backend(), limits.max_rows, "chosen tokens")) {}

std::int64_t StepRunner::bytes(std::int64_t max_rows) {
  return max_rows * static_cast<std::int64_t>(sizeof(kernels::Choice));
}

StepRunner::~StepRunner() {
  if (idle()) return;
  try {
    model_.backend().wait(model_.backend().mark());
  } catch (const std::exception&) {
    // Nothing is written any more, and whoever ends us has a failure of their own.
  }
}

std::vector<kernels::Choice> StepRunner::run(const StepPlan& plan) {
  if (const auto failures = launch(plan); !failures.empty()) {
    throw std::runtime_error(failures.front().message);
  }
  return collect();
}

std::vector<OperationFailure> StepRunner::launch(const StepPlan& plan) {
  if (full()) throw std::logic_error("StepRunner: a step must be collected first");
  if (plan.number != last_number_ + 1) {
    drifted(plan.number, "expected step " + std::to_string(last_number_ + 1));
  }
  last_number_ = plan.number;
  std::vector<OperationFailure> failures;
  for (std::size_t i = 0; i < plan.operations.size(); ++i) {
    std::visit([&](const auto& operation) { note(operation); }, plan.operations[i]);
    try {
      std::visit([&](const auto& operation) { apply(operation); }, plan.operations[i]);
      if (is_unfinished(plan.operations[i])) failures.push_back({static_cast<std::int32_t>(i), "", true});
    } catch (const GroupEnded&) {
      throw;
    } catch (const std::exception& error) {
      failures.push_back({static_cast<std::int32_t>(i), error.what()});
      const auto changed = changed_by(plan.operations[i]);
      if (changed && changed->where == Standing::Where::place) place(changed->index).is_sound = false;
      if (begins_job(plan.operations[i])) {
        jobs_.push_back([files = snapshots_, job = last_job_] { files->skip(job); });
      }
    }
  }

  kernels::Backend& backend = model_.backend();
  if (!plan.rows.empty()) model_.forward(take_in(plan.rows));
  const std::span<const PlanOutput> outputs(plan.outputs);
  for (std::size_t begin = 0; begin < outputs.size(); begin += kOutputsAtOnce) {
    const auto block = outputs.subspan(begin, std::min<std::size_t>(kOutputsAtOnce, outputs.size() - begin));
    choose(plan, block, choices_.span.part(static_cast<std::int64_t>(begin), std::ssize(block)));
  }
  launched_.push_back({.number = plan.number,
                       .jobs = std::exchange(jobs_, {}),
                       .choices = std::vector<kernels::Choice>(outputs.size())});
  Launched& step = launched_.back();  // in its place before anything is to be written to it
  if (!outputs.empty()) backend.download(choices_.span.data, std::as_writable_bytes(std::span(step.choices)));
  step.mark = backend.mark();
  return failures;
}

std::vector<kernels::Choice> StepRunner::collect() {
  if (idle()) throw std::logic_error("StepRunner: no step is under way");
  wait_for(launched_.front());
  for (const Job& begin_job : launched_.front().jobs) begin_job();
  std::vector<kernels::Choice> choices = std::move(launched_.front().choices);
  launched_.pop_front();
  return choices;
}

void StepRunner::wait_for(const Launched& step) {
  const auto told = [&](const std::exception& error) {
    return "step " + std::to_string(step.number) + ": " + error.what();
  };
  try {
    model_.backend().wait(step.mark);
  } catch (const GroupEnded& error) {
    throw GroupEnded(told(error));
  } catch (const std::exception& error) {
    throw std::runtime_error(told(error));
  }
}

StepRunner::Slot& StepRunner::open_slot(std::int32_t index) {
  if (!slot(index).open) drifted(last_number_, "slot " + std::to_string(index) + " is not open");
  return slot(index);
}

void StepRunner::note(const OpenSlot& operation) {
  if (slot(operation.slot).open) {
    drifted(last_number_, "slot " + std::to_string(operation.slot) + " is open already");
  }
  slot(operation.slot) = {.open = true, .window = operation.window};
}

void StepRunner::note(const BeginTurn& operation) {
  Slot& slot = open_slot(operation.slot);
  slot.in_turn = true;
  slot.has_choice = false;
}

void StepRunner::note(const CopySlot& operation) {
  const Slot from = open_slot(operation.from);
  note(OpenSlot{operation.slot, from.window});
  slot(operation.slot).seen = from.seen;
  slot(operation.slot).written = from.written;
  slot(operation.slot).ring_begin = from.ring_begin;
}

void StepRunner::note(const SkipSlot& operation) {
  Slot& slot = open_slot(operation.slot);
  if (operation.position < slot.written || slot.seen != slot.written) {
    drifted(last_number_, "slot " + std::to_string(operation.slot) + " has taken in what is to be left out");
  }
  slot.seen = slot.written = slot.ring_begin = operation.position;
}

void StepRunner::note(const RollBackSlot& operation) {
  Slot& slot = open_slot(operation.slot);
  const std::int64_t capacity = limits_.session.ring_capacity;
  if (operation.length > slot.seen || !can_roll_back(slot.written, operation.length, slot.window, capacity)) {
    drifted(last_number_, "slot " + std::to_string(operation.slot) + " cannot go back to " +
                              std::to_string(operation.length) + " tokens");
  }
  slot.written = written_after_roll_back(slot.written, operation.length, slot.window);
  slot.seen = operation.length;
  slot.in_turn = slot.has_choice = false;
}

void StepRunner::note(const CloseSlot& operation) {
  open_slot(operation.slot) = {};
}

void StepRunner::note(const SaveSlot& operation) {
  const Slot& slot = open_slot(operation.slot);
  fill_place(operation.place, {true, slot.window, slot.seen, slot.written, slot.ring_begin});
}

void StepRunner::note(const LeaveSlot& operation) {
  open_slot(operation.slot) = {};
}

void StepRunner::note(const RestoreSlot& operation) {
  const Saved& saved = full_place(operation.place);
  note(OpenSlot{operation.slot, saved.window});
  slot(operation.slot).seen = saved.seen;
  slot(operation.slot).written = saved.written;
  slot(operation.slot).ring_begin = saved.ring_begin;
}

void StepRunner::note(const CopySaved& operation) {
  fill_place(operation.place, full_place(operation.from));
}

void StepRunner::note(const DropSaved& operation) {
  full_place(operation.place) = {};
}

StepRunner::Saved& StepRunner::full_place(std::int32_t index) {
  if (!place(index).full) drifted(last_number_, "nothing is parked in place " + std::to_string(index));
  return place(index);
}

void StepRunner::fill_place(std::int32_t index, const Saved& session) {
  if (place(index).full) {
    drifted(last_number_, "a session is parked in place " + std::to_string(index) + " already");
  }
  place(index) = session;
}

void StepRunner::apply(const CopySlot& operation) {
  model_.copy_slot(operation.from, operation.slot, slot(operation.slot).written);
}

void StepRunner::apply(const SaveSlot& operation) {
  model_.save_slot(operation.slot, operation.place, place(operation.place).written);
}

void StepRunner::apply(const RestoreSlot& operation) {
  model_.restore_slot(operation.place, operation.slot, slot(operation.slot).written);
}

void StepRunner::apply(const CopySaved& operation) {
  model_.copy_saved(operation.from, operation.place, place(operation.place).written);
}

// ---- Files. Their jobs begin when the step's work is done, and with it all that was queued before.

void StepRunner::note(const WriteSnapshot& operation) {
  full_place(operation.place);
  ++last_job_;
}

void StepRunner::note(const ReadSnapshot& operation) {
  const Snapshot& snapshot = operation.snapshot;
  fill_place(operation.place, {true, snapshot.window, snapshot.seen, snapshot.written, /*ring_begin=*/0});
  ++last_job_;
}

void StepRunner::apply(const WriteSnapshot& operation) {
  if (!place(operation.place).is_sound) throw std::runtime_error("the session could not be copied");
  const Snapshot& snapshot = operation.snapshot;
  const auto parts = model_.parts_of_place(operation.place, snapshot.written, snapshot.window.sink_tokens);
  jobs_.push_back([files = snapshots_, job = last_job_, snapshot,
                   parts = SavedParts(parts.begin(), parts.end())] { files->write(job, snapshot, parts); });
}

void StepRunner::apply(const ReadSnapshot& operation) {
  const Snapshot& snapshot = operation.snapshot;
  jobs_.push_back(
      [files = snapshots_, job = last_job_, snapshot,
       parts = model_.parts_of_place(operation.place, snapshot.written, snapshot.window.sink_tokens)] {
        files->read(job, snapshot, parts);
      });
}

void StepRunner::apply(const RemoveSnapshot& operation) {
  jobs_.push_back(
      [files = snapshots_, job = last_job_, operation] { files->remove(job, operation.session); });
}

void StepRunner::apply(const KeepOnlySnapshots& operation) {
  jobs_.push_back(
      [files = snapshots_, job = last_job_, operation] { files->keep_only(job, operation.sessions); });
}

bool StepRunner::is_unfinished(const SlotOperation& operation) {
  const auto* const asked = std::get_if<AskJob>(&operation);
  return asked && !snapshots_->is_done(asked->job);
}

std::vector<ModelRow> StepRunner::take_in(std::span<const PlanRow> rows) {
  std::vector<ModelRow> model_rows;
  model_rows.reserve(rows.size());
  for (const auto& row : rows) {
    Slot& slot = this->slot(row.slot);
    if (!slot.open || row.position != slot.seen) {
      drifted(last_number_, "position " + std::to_string(row.position) + " in slot " +
                                std::to_string(row.slot) + " where " + std::to_string(slot.seen) +
                                " was expected");
    }
    slot.written = std::max(slot.written, ++slot.seen);
    if (row.token == kernels::kLastChosen && !slot.has_choice) {
      drifted(last_number_, "no token was chosen for slot " + std::to_string(row.slot));
    }
    model_rows.push_back({row.slot, row.token, row.position, slot.window, slot.ring_begin});
  }
  return model_rows;
}

void StepRunner::note_choice(std::int32_t index) {
  if (!slot(index).in_turn) drifted(last_number_, "slot " + std::to_string(index) + " is in no turn");
  slot(index).has_choice = true;
}

void StepRunner::choose(const StepPlan& plan, std::span<const PlanOutput> outputs,
                        kernels::DeviceSpan<kernels::Choice> out) {
  std::vector<std::int32_t> selected;
  std::vector<kernels::ChoiceTask> tasks;
  for (const auto& output : outputs) {
    const PlanRow& row = plan.rows[static_cast<std::size_t>(output.row)];
    const bool sample = output.kind == PlanOutput::Kind::sample;
    if (sample) note_choice(row.slot);
    selected.push_back(output.row);
    tasks.push_back({.sample = sample,
                     .logprobs = output.logprobs,
                     .slot = row.slot,
                     .top_logprobs = output.top_logprobs,
                     .target = output.target,
                     .position = row.position + 1});
  }
  model_.choose(model_.logits(selected), tasks, out);
}

}  // namespace sinkstream
