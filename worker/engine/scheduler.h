// Decides what each step takes in: continuous batching with chunked prefill, fair between sessions. Knows
// tokens and slots; no tensors, sockets or threads.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "kernels/choice.h"
#include "worker/engine/step_plan.h"

namespace sinkstream {

struct SchedulerLimits {
  std::int32_t num_slots = 1;
  std::int64_t prefill_chunk = 128;  // prompt tokens that a step takes in at most, all sessions together
  std::int64_t session_chunk = 128;  // of one session: no more than the ring's slack
  SessionShape session;
  std::vector<TokenId> end_tokens;
};

class Scheduler {
 public:
  explicit Scheduler(SchedulerLimits limits);

  // A session waits until a slot is free; first come, first served.
  void add(Submission submission);
  // Ends a session, waiting or running, with on_finish. False if there is none with this id.
  bool cancel(const std::string& id, FinishReason reason, const std::string& message = "");
  void cancel_all(FinishReason reason, const std::string& message);

  // The next step; no value when there is nothing to do. It may be asked for before the outcome of the last
  // is known: tokens that were chosen since stand in it as kLastChosen.
  std::optional<StepPlan> next();
  // The outcome of the oldest step that next() gave and that has none yet: one choice for each output. What
  // belongs to a session that has ended meanwhile is dropped.
  void commit(std::span<const kernels::Choice> choices);

  std::int32_t waiting() const { return static_cast<std::int32_t>(waiting_.size()); }
  std::int32_t running() const;
  std::int32_t free_slots() const;
  bool has_operations() const { return !operations_.empty(); }  // slots that the next plan opens or closes
  bool all_paused() const;  // there are sessions, and none may go on before its reader does
  void add_counts(EngineStats& stats) const;

 private:
  using Clock = std::chrono::steady_clock;

  struct Session {
    std::uint64_t number = 0;  // never given again: slots change hands, also while steps are under way
    GenerationRequest request;
    std::shared_ptr<GenerationListener> listener;
    std::int32_t slot = 0;
    // Tokens in plans, the prompt's, then the generated ones'; and those of them in steps whose outcome is
    // known.
    std::int64_t planned = 0, seen = 0;
    // Tokens to be chosen in plans, and those that have been.
    std::int64_t choices_planned = 0, generated = 0;
    Clock::time_point phase_begin = Clock::now();  // of the prefill, then of the decoding

    std::int64_t prompt_left() const {
      return std::max<std::int64_t>(0, std::ssize(request.prompt) - planned);
    }
  };

  // A step under way, with the session of each row.
  struct Launched {
    StepPlan plan;
    std::vector<std::uint64_t> sessions;
  };

  void admit();
  void add_row(Session& session, TokenId token, StepPlan& plan);
  bool may_choose_more(const Session& session) const;
  void take_notice(const Launched& step);
  void add_decode_rows(StepPlan& plan);
  void add_prefill_rows(StepPlan& plan);
  void take_prompt(Session& session, std::int64_t count, StepPlan& plan);
  void deliver(Session& session, const PlanOutput& output, const PlanRow& row, const kernels::Choice& choice);
  void finish(Session& session, FinishReason reason, const std::string& message = "",
              std::optional<TokenId> stop_token = std::nullopt);
  void finish_scored_prompts();
  void end_phase(Session& session, DurationHistogram& histogram);
  SamplingParams sampling_of(const GenerationRequest& request) const;
  bool is_end(const Session& session, TokenId token) const;
  Session* session_in(std::int32_t slot);
  Session* find(std::int32_t slot, std::uint64_t number);  // none if it has ended

  SchedulerLimits limits_;
  std::deque<Submission> waiting_;
  std::vector<std::unique_ptr<Session>> slots_;  // by slot; empty: free
  std::vector<SlotOperation> operations_;        // for the next plan
  std::deque<Launched> launched_;                // oldest first
  std::vector<std::uint64_t> row_sessions_;      // of the plan in the making
  std::uint64_t next_number_ = 1, next_session_ = 1;
  std::int32_t prefill_turn_ = 0;  // the slot whose prompt comes first in this step
  std::int64_t prompt_tokens_ = 0, generated_tokens_ = 0, finished_evicted_ = 0;
  DurationHistogram queueing_, prefill_, decode_;
};

}  // namespace sinkstream
