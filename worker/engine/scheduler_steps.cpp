// What steps take in, and what comes of them.
#include <algorithm>
#include <cmath>
#include <utility>

#include "base/durations.h"
#include "worker/engine/prefill_shares.h"
#include "worker/engine/scheduler.h"

namespace sinkstream {
namespace {

PlanOutput sample_output(const TurnParams& params, const StepPlan& plan) {
  return {.kind = PlanOutput::Kind::sample,
          .logprobs = params.logprobs,
          .row = static_cast<std::int32_t>(plan.rows.size()),
          .top_logprobs = params.logprobs ? params.top_logprobs : 0};
}

PlanOutput score_output(TokenId target, const TurnParams& params, const StepPlan& plan) {
  return {.kind = PlanOutput::Kind::score,
          .row = static_cast<std::int32_t>(plan.rows.size()),
          .target = target,
          .top_logprobs = params.top_prompt_logprobs};
}

}  // namespace

std::optional<StepPlan> Scheduler::next() {
  begin_load();
  admit();
  skip_gaps();
  begin_save();
  ask_for_jobs();
  StepPlan plan;
  SessionOperations operations = table_.take_operations();
  plan.operations = std::move(operations.operations);
  add_decode_rows(plan);
  add_prefill_rows(plan);
  if (plan.operations.empty() && plan.rows.empty()) return std::nullopt;
  plan.number = next_plan_++;
  launched_.push_back(
      {plan, std::move(operations.sessions), std::exchange(row_sessions_, {}), std::exchange(forks_, {})});
  return plan;
}

void Scheduler::note_launch(std::span<const OperationFailure> failures) {
  Launched& step = launched_.back();
  for (const OperationFailure& failure : failures) {
    if (!failure.unfinished) note(step, static_cast<std::size_t>(failure.operation), failure.message);
  }
  settle_saves(step);
  settle_jobs(step, failures);
  for (SessionChanged& fork : std::exchange(step.forks, {})) {
    if (table_.find(fork.session)) {
      tell_(std::move(fork));
    } else {
      refuse(fork.request, RefusalReason::failed, "the session could not be copied");
    }
  }
}

void Scheduler::note(const Launched& step, std::size_t index, const std::string& message) {
  const auto& operations = step.plan.operations;
  const std::uint64_t number = step.operation_sessions[index];
  if (const auto* const save = std::get_if<SaveSlot>(&operations[index])) {
    Session* const session = table_.find(save->slot, number);
    if (session && session->place == save->place) return table_.give_up_place(*session);
  }
  if (SnapshotJob* const job = job_of(operations[index])) job->failure = message;
  // What was copied from there in this step is as wrong.
  const auto standing = changed_by(operations[index]);
  if (!standing) return;
  for (std::size_t i = index + 1; i < operations.size(); ++i) {
    if (vacates(operations[i]) && changed_by(operations[i]) == standing) break;
    if (read_by(operations[i]) == standing && step.operation_sessions[i] != number) note(step, i, message);
  }
  Session* const session = table_.find_number(number);
  if (session) fail(*session, FinishReason::failed, message);
}

void Scheduler::note_seconds(double seconds) {
  const StepPlan& plan = launched_.front().plan;
  const auto copies = [](const SlotOperation& operation) { return read_by(operation).has_value(); };
  if (std::ranges::any_of(plan.operations, copies)) return;  // which take time of their own
  const std::int64_t decode_rows = std::ranges::count(plan.rows, kernels::kLastChosen, &PlanRow::token);
  prefill_budget_.note(decode_rows, std::ssize(plan.rows) - decode_rows, seconds);
}

void Scheduler::commit(std::span<const kernels::Choice> choices) {
  const Launched step = std::move(launched_.front());
  launched_.pop_front();
  take_notice(step);
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const PlanOutput& output = step.plan.outputs[i];
    const auto row = static_cast<std::size_t>(output.row);
    Session* const session = table_.find(step.plan.rows[row].slot, step.row_sessions[row]);
    if (session) deliver(*session, output, step.plan.rows[row], choices[i]);
  }
  end_turns_without_output();
}

// The step's tokens have been taken in.
void Scheduler::take_notice(const Launched& step) {
  for (std::size_t i = 0; i < step.plan.rows.size(); ++i) {
    if (Session* session = table_.find(step.plan.rows[i].slot, step.row_sessions[i])) ++session->seen;
  }
}

void Scheduler::add_row(Session& session, TokenId token, StepPlan& plan) {
  if (session.planned >= session.window.sink_tokens + session.window.window_tokens) ++evicted_tokens_;
  plan.rows.push_back({*session.slot, token, session.planned++});
  row_sessions_.push_back(session.number);
}

// What a session's past leaves out, when its sinks are taken in.
void Scheduler::skip_gaps() {
  table_.for_each([&](Session& session) {
    const Input& input = session.input;
    const bool is_there = input.gap_begin < input.gap_end && session.planned == input.gap_begin;
    if (session.turn && is_there && session.seen == session.planned) table_.skip(session, input.gap_end);
  });
}

// A session whose last token is being chosen is taken no further, though its end is not known yet.
void Scheduler::add_decode_rows(StepPlan& plan) {
  table_.for_each([&](Session& session) {
    if (!session.turn || session.input_left() > 0) return;
    Turn& turn = *session.turn;
    if (!turn.wants_more() || is_full(session.planned) || turn.credit().left() == 0) return;
    plan.outputs.push_back(sample_output(turn.params(), plan));
    ++turn.tokens_planned;
    ++turn.credit().used;
    add_row(session, kernels::kLastChosen, plan);
  });
}

// The step's prompt tokens are shared evenly, beginning with another session each step.
void Scheduler::add_prefill_rows(StepPlan& plan) {
  std::vector<Session*> sessions;
  std::vector<std::int64_t> wanted;
  table_.for_each(
      [&](Session& session) {
        tell_first(session);
        const std::int64_t tokens = wanted_input(session);
        if (tokens == 0) return;
        sessions.push_back(&session);
        wanted.push_back(tokens);
      },
      first_prefill_slot_);
  if (sessions.empty()) return;
  first_prefill_slot_ = (*sessions.front()->slot + 1) % limits_.num_slots;
  const std::vector<std::int64_t> shares =
      prefill_shares(wanted, prefill_budget_.tokens(std::ssize(plan.rows)));
  for (std::size_t i = 0; i < sessions.size(); ++i) take_input(*sessions[i], shares[i], plan);
}

// The choice that is told what a session's input puts out.
std::int32_t Scheduler::teller_of(const Session& session) const {
  return session.request()->first_of_prompt(session.turn ? session.turn->choice : session.branches.first);
}

// Whether the row at `position` scores the token behind it.
bool Scheduler::scores(const Session& session, std::int64_t position) const {
  const Input& input = session.input;
  const std::int64_t next = input.index(position) + 1;
  return input.scored && next >= input.told && next < static_cast<std::int64_t>(input.tokens.size());
}

// Whether the turn's first token is chosen from the row at `position`.
bool Scheduler::chooses(const Session& session, std::int64_t position) const {
  return session.turn && session.turn->params().max_tokens > 0 && position + 1 == session.input.end();
}

// The first token of a scored prompt has no log-probability, and no step to wait for.
void Scheduler::tell_first(Session& session) {
  Input& input = session.input;
  if (session.resting() || !input.scored || input.told > 0 || input.first_told) return;
  ActiveRequest& request = *session.request();
  const std::int32_t teller = teller_of(session);
  if (request.credit(teller).left() == 0) return;
  ++request.credit(teller).used;
  input.first_told = true;
  tell_(TokenEvent{.request = request.command.request,
                   .choice = teller,
                   .position = input.begin,
                   .token = input.at(input.begin),
                   .from_prompt = true});
}

// How much of its input a session may take in now: what that puts out has to have a place to go to.
std::int64_t Scheduler::wanted_input(const Session& session) const {
  const Input& input = session.input;
  std::int64_t left = std::min(session.input_left(), limits_.session_chunk);
  if (session.planned <= input.gap_begin && input.gap_begin < input.gap_end) {
    left = std::min(left, input.gap_begin - session.planned);
  }
  if (left == 0) return 0;
  if (input.scored && input.told == 0 && !input.first_told) return 0;
  ActiveRequest& request = *session.request();
  const std::int32_t teller = teller_of(session);
  std::int64_t scored = request.credit(teller).left();
  for (std::int64_t i = 0; i < left; ++i) {
    const std::int64_t position = session.planned + i;
    if (scores(session, position) && --scored < 0) return i;
    if (!chooses(session, position)) continue;
    const bool is_teller = session.turn->choice == teller;
    if ((is_teller ? scored : request.credit(session.turn->choice).left()) == 0) return i;
  }
  return left;
}

void Scheduler::take_input(Session& session, std::int64_t count, StepPlan& plan) {
  if (count == 0) return;
  ActiveRequest& request = *session.request();
  const TurnParams& params = request.command.params;
  const std::int32_t teller = teller_of(session);
  for (std::int64_t i = 0; i < count; ++i) {
    if (chooses(session, session.planned)) {
      plan.outputs.push_back(sample_output(params, plan));
      ++session.turn->tokens_planned;
      ++session.turn->credit().used;
    } else if (scores(session, session.planned)) {
      plan.outputs.push_back(score_output(session.input.at(session.planned + 1), params, plan));
      ++request.credit(teller).used;
    }
    if (session.replays()) {
      ++replayed_tokens_;
      if (session.turn) ++session.turn->replayed;
    }
    add_row(session, session.input.at(session.planned), plan);
  }
  prompt_tokens_ += count;
}

void Scheduler::deliver(Session& session, const PlanOutput& output, const PlanRow& row,
                        const kernels::Choice& choice) {
  const bool sampled = output.kind == PlanOutput::Kind::sample;
  if (choice.token < 0 || !std::isfinite(choice.logprob)) {
    return fail(session, FinishReason::failed,
                "the model's logits are not finite at position " + std::to_string(row.position) +
                    "; the checkpoint may be damaged");
  }
  const ActiveRequest& request = *session.request();
  if (sampled) {
    Turn& turn = *session.turn;
    if (turn.generated++ == 0) end_phase(turn, prefill_);
    ++generated_tokens_;
    if (is_end(turn.params(), choice.token)) return end_turn(session, FinishReason::stop, {}, choice.token);
    turn.last_told = choice.token;
  }
  TokenEvent event{.request = request.command.request,
                   .choice = session.turn ? session.turn->choice : session.branches.first,
                   .position = row.position + 1,
                   .token = choice.token,
                   .from_prompt = !sampled,
                   .top = {choice.top.begin(), choice.top.begin() + choice.top_count},
                   .rank = choice.rank};
  if (!sampled) event.choice = request.first_of_prompt(event.choice);
  if (!sampled || output.logprobs) event.logprob = choice.logprob;
  tell_(std::move(event));
  if (!sampled) return;
  Turn& turn = *session.turn;
  if (turn.generated >= turn.params().max_tokens || is_full(session.seen)) {
    end_turn(session, FinishReason::length, turn.untaken());
  }
}

// A turn that only takes in ends when that is done.
void Scheduler::end_turns_without_output() {
  table_.for_each([&](Session& session) {
    if (!session.turn || session.turn->params().max_tokens > 0 || session.seen < session.input.end()) return;
    end_phase(*session.turn, prefill_);
    end_turn(session, FinishReason::length, {});
  });
}

void Scheduler::end_phase(Turn& turn, DurationHistogram& histogram) {
  const Clock::time_point now = Clock::now();
  histogram.add(to_seconds(now - turn.phase_begin));
  turn.phase_begin = now;
}

}  // namespace sinkstream
