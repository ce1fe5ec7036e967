// Decides what each step takes in: continuous batching with chunked prefill, fair between sessions. Knows
// sessions, tokens and slots; no tensors, sockets or threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/commands.h"
#include "engine/engine_stats.h"
#include "engine/events.h"
#include "kernels/choice.h"
#include "worker/engine/operation_failures.h"
#include "worker/engine/prefill_budget.h"
#include "worker/engine/session_table.h"
#include "worker/engine/snapshot_traffic.h"
#include "worker/engine/step_plan.h"

namespace sinkstream {

struct SchedulerLimits {
  std::int32_t num_slots = 1;
  std::int32_t num_places = 0;       // for sessions that are parked
  std::int64_t place_bytes = 0;      // of each, on all ranks together
  std::int32_t max_queue = 0;        // choices that wait for a slot
  std::int64_t prefill_chunk = 128;  // prompt tokens that a step takes in at most, all sessions together
  std::int64_t session_chunk = 128;  // of one session: no more than the ring's slack
  double prefill_slowdown = 0;       // of decoding sessions' steps, at most (PrefillBudget); 0: no limit
  SessionShape session;
  std::vector<TokenId> end_tokens;
  // What the leader has of a session on its disk. Empty: there are no snapshots; else two places more than
  // num_places, the first for those that go to files, the second for those that come.
  std::function<std::optional<Snapshot>(std::uint64_t session)> find_snapshot = {};
};

class Scheduler {
 public:
  using Clock = std::chrono::steady_clock;

  // `tell` gets the events, on whatever thread calls the scheduler.
  Scheduler(SchedulerLimits limits, std::function<void(Event)> tell);

  // A Generate without a session has been accepted already; all else is answered from here.
  void take(Generate command, Clock::time_point received);
  void take(const Grant& command);
  void take(const EndTurn& command);
  void take(const Cancel& command);
  void take(const OpenSession& command);
  void take(const ForkSession& command);
  void take(const RollBackSession& command);
  void take(const CloseSession& command);
  void take(const SaveSession& command);
  void take(const DropSnapshot& command);
  void take(const KeepSnapshots& command);
  // Ends every turn and every session.
  void end_all(FinishReason reason, const std::string& message);

  // The next step; no value when there is nothing to do before a command or a step's outcome comes. It may be
  // asked for before the outcome of the last is known: tokens that were chosen since stand in it as
  // kLastChosen.
  std::optional<StepPlan> next();
  // The newest step has been launched: what failed of its slot operations, on whichever rank. Their sessions
  // end.
  void note_launch(std::span<const OperationFailure> failures);
  // The oldest step that next() gave, and that has no outcome yet, took so long.
  void note_seconds(double seconds);
  // The outcome of the oldest step that next() gave and that has none yet: one choice for each output. What
  // belongs to a turn that has ended meanwhile is dropped.
  void commit(std::span<const kernels::Choice> choices);

  // When next() may have something to do though nothing has come: asking how snapshots are.
  std::optional<Clock::time_point> asks_at() const;

  std::int32_t waiting() const;  // choices without a slot
  std::int32_t free_slots() const { return table_.free_slots(); }
  // Those, and the slots of sessions that can be parked.
  std::int32_t slots_to_be_had() const;
  void add_counts(EngineStats& stats) const;

 private:
  // A step under way, with the session of each operation and each row, and the forks that it makes.
  struct Launched {
    StepPlan plan;
    std::vector<std::uint64_t> operation_sessions, row_sessions;
    std::vector<SessionChanged> forks;
  };

  // ---- Sessions that outlive a request
  // Each says why, if it does.
  bool refuses(RequestId request, SessionId id);  // unknown, or in a turn
  bool refuses_id(RequestId request, SessionId id);
  bool refuses_state(RequestId request, SessionId id, std::int64_t tokens);
  bool refuses_turn(const Generate& command);
  bool refuses_more_sessions(RequestId request);
  void refuse(RequestId request, RefusalReason reason, const std::string& message,
              const Session* session = nullptr);
  SessionChanged changed(RequestId request, SessionId id) const;
  std::int64_t tokens_of(SessionId id) const;      // also of those without a slot
  std::int64_t taken_in(SessionId id) const;       // of them, those that are not pending
  std::vector<TokenId>* pending_of(SessionId id);  // of those, too; null where there is no such session
  bool can_go_back(SessionId id, std::int64_t tokens) const;
  void go_back(SessionId id, std::int64_t tokens);  // also within what is pending
  bool is_waiting(SessionId id) const;

  // ---- Turns
  void admit();
  void serve_waiting();
  void start(Choices choices);
  void go_on(Session& session, const std::shared_ptr<ActiveRequest>& request);
  void branch(Session& session);
  bool is_in_turn(const ActiveRequest& request) const;
  void note_queueing(const Session& session, const ActiveRequest& request);
  void begin_turn(Session& session, const std::shared_ptr<ActiveRequest>& request, std::int32_t choice);
  void end_turn(Session& session, FinishReason reason, std::vector<TokenId> pending,
                std::optional<TokenId> stop_token = std::nullopt);
  void cancel_turn(Session& session);
  void end_choices(const Choices& choices, FinishReason reason, const std::string& message);
  void stop(Session& session, const EndTurn& command);
  void end_waiting(const std::function<bool(const Choices&)>& which, FinishReason reason,
                   const std::string& message);
  void fail(Session& session, FinishReason reason, const std::string& message);
  SamplingParams sampling_of(const ActiveRequest& request, std::int32_t choice) const;
  bool is_end(const TurnParams& params, TokenId token) const;
  bool is_full(std::int64_t tokens) const;  // dense mode: a session of so many may see no more

  // ---- Parking (scheduler_parking.cpp)
  bool stands_in_slot(const Choices& choices) const;  // is the next turn of a session that has a slot
  bool goes_on_at_once(const Session* session) const;
  bool can_make_room() const;
  void make_room();
  void go_on_where_they_stand();
  void ask_for_slot();
  void settle_saves(const Launched& step);
  Session* copy_of(const Session& from, SessionId id);
  std::int32_t most_sessions() const;

  // ---- Snapshots (scheduler_snapshots.cpp)
  std::int32_t out_place() const { return limits_.num_places; }
  std::int32_t in_place() const { return limits_.num_places + 1; }
  bool refuses_save(const SaveSession& command);
  void refuse_saves(RefusalReason reason, const std::string& message);
  std::uint64_t begin_job(SlotOperation operation);
  void begin_save();
  void end_save();
  void look_for_snapshot(NewSession& opened, std::int64_t new_tokens);
  const NewSession* new_session(const Choices& choices) const;
  bool waits_for_snapshot(const Choices& choices) const;
  bool is_there(SessionId session, const Snapshot& snapshot) const;
  void begin_load();
  bool is_overdue() const;
  void end_load();
  void settle_load();
  Session& take_up(std::int32_t slot, SessionId id, const NewSession& opened);
  void ask_for_jobs();
  SnapshotJob* job_of(const SlotOperation& operation);
  void settle_jobs(const Launched& step, std::span<const OperationFailure> failures);

  // ---- Steps
  void skip_gaps();
  void add_decode_rows(StepPlan& plan);
  void add_prefill_rows(StepPlan& plan);
  std::int32_t teller_of(const Session& session) const;
  void tell_first(Session& session);
  bool scores(const Session& session, std::int64_t position) const;
  bool chooses(const Session& session, std::int64_t position) const;
  std::int64_t wanted_input(const Session& session) const;
  void take_input(Session& session, std::int64_t count, StepPlan& plan);
  void add_row(Session& session, TokenId token, StepPlan& plan);
  void note(const Launched& step, std::size_t operation, const std::string& message);
  void take_notice(const Launched& step);
  void deliver(Session& session, const PlanOutput& output, const PlanRow& row, const kernels::Choice& choice);
  void end_turns_without_output();
  static void end_phase(Turn& turn, DurationHistogram& histogram);

  const SchedulerLimits limits_;
  const std::function<void(Event)> tell_;
  SessionTable table_;
  PrefillBudget prefill_budget_;
  std::deque<Choices> waiting_;
  std::deque<WaitingSave> saves_;
  SnapshotTraffic traffic_;
  Clock::time_point next_ask_;
  std::map<SessionId, NewSession> new_sessions_;
  std::vector<SessionChanged> forks_;        // of the plan in the making, told when it has been launched
  std::vector<std::uint64_t> row_sessions_;  // of the plan in the making
  std::deque<Launched> launched_;            // oldest first
  std::uint64_t next_plan_ = 1;
  std::int32_t first_prefill_slot_ = 0;  // whose prompt comes first in the next step
  std::uint64_t uses_ = 0;               // of sessions, counted for their order
  std::int64_t parks_ = 0, restores_ = 0;
  std::int64_t prompt_tokens_ = 0, replayed_tokens_ = 0, generated_tokens_ = 0, evicted_tokens_ = 0;
  DurationHistogram queueing_, prefill_, decode_;
};

}  // namespace sinkstream
