// Applies step plans on one rank: slot operations, forward pass, choice of tokens. Steps are launched, and
// collected in the same order; the next can be launched before the last is collected.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "kernels/device_array.h"
#include "worker/engine/operation_failures.h"
#include "worker/engine/plan_limits.h"
#include "worker/model/model.h"
#include "worker/snapshots/snapshot_files.h"

namespace sinkstream {

class StepRunner {
 public:
  // `snapshots`: null where the limits allow none.
  StepRunner(Model& model, const PlanLimits& limits, SnapshotFiles* snapshots = nullptr);
  // Waits for the steps under way, which write to this rank's memory.
  ~StepRunner();
  StepRunner(const StepRunner&) = delete;
  StepRunner& operator=(const StepRunner&) = delete;

  // Of the backend's memory, beside the model's.
  static std::int64_t bytes(std::int64_t max_rows);

  // Collective: every rank launches the same plans. What failed of the plan's slot operations on this rank;
  // their slots are what they would be otherwise, but for what is in them. Throws std::runtime_error when the
  // plan does not follow on the last one (a rank has drifted).
  std::vector<OperationFailure> launch(const StepPlan& plan);
  // Waits for the oldest step under way: one choice for each of its outputs, the same on every rank. What
  // failed in it is rethrown with the step's number.
  std::vector<kernels::Choice> collect();
  // Both.
  std::vector<kernels::Choice> run(const StepPlan& plan);

  bool idle() const { return launched_.empty(); }
  // Whether a step must be collected before the next is launched.
  bool full() const { return std::ssize(launched_) == model_.backend().steps_in_flight(); }

  const PlanLimits& limits() const { return limits_; }
  // Of this rank's snapshots; on any thread.
  std::int64_t snapshot_bytes() const { return snapshots_ ? snapshots_->bytes() : 0; }

 private:
  // What a rank knows of a session in a slot, all of it derived from the plans.
  struct Slot {
    bool open = false;
    CacheWindow window;
    std::int64_t seen = 0;        // tokens in plans
    std::int64_t written = 0;     // the most that it ever had seen: so many have stood in the ring
    std::int64_t ring_begin = 0;  // what was left out before it never stood in the ring
    bool in_turn = false;
    bool has_choice = false;  // a token is being chosen in this turn, or was
  };

  // What it knows of a session that is parked.
  struct Saved {
    bool full = false;
    CacheWindow window;
    std::int64_t seen = 0, written = 0, ring_begin = 0;  // as Slot has them
    bool is_sound = true;                                // what is in its memory; on this rank
  };

  // What is to be done with files when its step is over.
  using Job = std::function<void()>;

  struct Launched {
    std::uint64_t number = 0;
    std::uint64_t mark = 0;
    std::vector<Job> jobs = {};
    std::vector<kernels::Choice> choices;  // there after a wait for the mark
  };

  void wait_for(const Launched& step);
  Slot& slot(std::int32_t index) { return slots_[static_cast<std::size_t>(index)]; }
  Slot& open_slot(std::int32_t index);
  Saved& place(std::int32_t index) { return places_[static_cast<std::size_t>(index)]; }
  Saved& full_place(std::int32_t index);
  void fill_place(std::int32_t index, const Saved& session);
  // Of the slots' books, which are the same on every rank; throws when ranks have drifted. Then of the model.
  void note(const OpenSlot& operation);
  void note(const BeginTurn& operation);
  void note(const CopySlot& operation);
  void note(const SkipSlot& operation);
  void note(const RollBackSlot& operation);
  void note(const CloseSlot& operation);
  void note(const SaveSlot& operation);
  void note(const LeaveSlot& operation);
  void note(const RestoreSlot& operation);
  void note(const CopySaved& operation);
  void note(const DropSaved& operation);
  void note(const WriteSnapshot& operation);
  void note(const ReadSnapshot& operation);
  void note(const RemoveSnapshot&) { ++last_job_; }
  void note(const KeepOnlySnapshots&) { ++last_job_; }
  void note(const AskJob&) {}
  void apply(const OpenSlot&) {}
  void apply(const BeginTurn& operation) { model_.begin_turn(operation.slot, operation.sampling); }
  void apply(const CopySlot& operation);
  void apply(const SkipSlot&) {}      // rows say where their ring begins
  void apply(const RollBackSlot&) {}  // what is in the ring beyond is overwritten before it is attended to
  void apply(const CloseSlot& operation) { model_.close_slot(operation.slot); }
  void apply(const SaveSlot& operation);
  void apply(const LeaveSlot& operation) { model_.leave_slot(operation.slot); }
  void apply(const RestoreSlot& operation);
  void apply(const CopySaved& operation);
  void apply(const DropSaved&) {}  // its memory is for the next
  void apply(const WriteSnapshot& operation);
  void apply(const ReadSnapshot& operation);
  void apply(const RemoveSnapshot& operation);
  void apply(const KeepOnlySnapshots& operation);
  void apply(const AskJob&) {}
  // Whether an operation that succeeded has more to come.
  bool is_unfinished(const SlotOperation& operation);
  void note_choice(std::int32_t index);
  std::vector<ModelRow> take_in(std::span<const PlanRow> rows);
  void choose(const StepPlan& plan, std::span<const PlanOutput> outputs,
              kernels::DeviceSpan<kernels::Choice> out);

  Model& model_;
  PlanLimits limits_;
  SnapshotFiles* const snapshots_;
  std::uint64_t last_number_ = 0;
  std::uint64_t last_job_ = 0;
  std::vector<Job> jobs_;  // of the step that is being launched
  std::vector<Slot> slots_;
  std::vector<Saved> places_;
  kernels::DeviceArray<kernels::Choice> choices_;  // [max_rows] of the step launched last
  std::deque<Launched> launched_;                  // oldest first
};

}  // namespace sinkstream
