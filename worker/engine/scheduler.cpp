#include "worker/engine/scheduler.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/durations.h"

namespace sinkstream {
Scheduler::Scheduler(SchedulerLimits limits)
    : limits_(std::move(limits)), slots_(static_cast<std::size_t>(limits_.num_slots)) {}

void Scheduler::add(Submission submission) {
  waiting_.push_back(std::move(submission));
}

bool Scheduler::cancel(const std::string& id, FinishReason reason, const std::string& message) {
  for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
    if (it->request.id != id) continue;
    it->listener->on_finish({reason, message, {}});
    waiting_.erase(it);
    return true;
  }
  for (const auto& session : slots_) {
    if (!session || session->request.id != id) continue;
    finish(*session, reason, message);
    return true;
  }
  return false;
}

void Scheduler::cancel_all(FinishReason reason, const std::string& message) {
  for (const auto& submission : waiting_) submission.listener->on_finish({reason, message, {}});
  waiting_.clear();
  for (const auto& session : slots_) {
    if (session) finish(*session, reason, message);
  }
}

std::optional<StepPlan> Scheduler::next() {
  admit();
  StepPlan plan;
  plan.operations = std::exchange(operations_, {});
  add_decode_rows(plan);
  add_prefill_rows(plan);
  if (plan.operations.empty() && plan.rows.empty()) return std::nullopt;
  plan.number = next_number_++;
  launched_.push_back({plan, std::exchange(row_sessions_, {})});
  return plan;
}

void Scheduler::commit(std::span<const kernels::Choice> choices) {
  const Launched step = std::move(launched_.front());
  launched_.pop_front();
  take_notice(step);
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const PlanOutput& output = step.plan.outputs[i];
    const auto row = static_cast<std::size_t>(output.row);
    Session* const session = find(step.plan.rows[row].slot, step.sessions[row]);
    if (session) deliver(*session, output, step.plan.rows[row], choices[i]);
  }
  finish_scored_prompts();
}

// The step's tokens have been taken in.
void Scheduler::take_notice(const Launched& step) {
  for (std::size_t i = 0; i < step.plan.rows.size(); ++i) {
    if (Session* session = find(step.plan.rows[i].slot, step.sessions[i])) ++session->seen;
  }
}

std::int32_t Scheduler::free_slots() const {
  return static_cast<std::int32_t>(std::count(slots_.begin(), slots_.end(), nullptr));
}

std::int32_t Scheduler::running() const {
  return limits_.num_slots - free_slots();
}

bool Scheduler::all_paused() const {
  if (running() == 0) return false;
  return std::all_of(slots_.begin(), slots_.end(),
                     [](const auto& session) { return !session || session->listener->paused(); });
}

void Scheduler::add_counts(EngineStats& stats) const {
  stats.running = running();
  stats.waiting = waiting();
  stats.prompt_tokens = prompt_tokens_;
  stats.generated_tokens = generated_tokens_;
  stats.evicted_tokens = finished_evicted_;
  stats.queueing = queueing_;
  stats.prefill = prefill_;
  stats.decode = decode_;
  stats.resident_tokens = 0;
  for (const auto& session : slots_) {
    if (!session) continue;
    const SessionUsage usage = session_usage(session->seen, limits_.session.window);
    stats.evicted_tokens += usage.evicted_tokens;
    stats.resident_tokens += usage.resident_tokens;
  }
}

Scheduler::Session* Scheduler::session_in(std::int32_t slot) {
  return slots_[static_cast<std::size_t>(slot)].get();
}

Scheduler::Session* Scheduler::find(std::int32_t slot, std::uint64_t number) {
  Session* const session = session_in(slot);
  return session && session->number == number ? session : nullptr;
}

void Scheduler::admit() {
  for (std::int32_t slot = 0; slot < limits_.num_slots && !waiting_.empty(); ++slot) {
    if (session_in(slot)) continue;
    Submission submission = std::move(waiting_.front());
    waiting_.pop_front();
    operations_.push_back(
        {SlotOperation::Kind::open, slot, limits_.session.window, sampling_of(submission.request)});
    auto session = std::make_unique<Session>();
    session->number = next_session_++;
    session->request = std::move(submission.request);
    session->listener = std::move(submission.listener);
    session->slot = slot;
    queueing_.add(to_seconds(session->phase_begin - submission.submitted));
    slots_[static_cast<std::size_t>(slot)] = std::move(session);
  }
}

SamplingParams Scheduler::sampling_of(const GenerationRequest& request) const {
  SamplingParams sampling = request.sampling;
  if (sampling.min_tokens == 0 && sampling.repeat_last_n <= 0) return sampling;
  sampling.end_tokens = limits_.end_tokens;
  sampling.end_tokens.insert(sampling.end_tokens.end(), request.stop_token_ids.begin(),
                             request.stop_token_ids.end());
  return sampling;
}

void Scheduler::add_row(Session& session, TokenId token, StepPlan& plan) {
  plan.rows.push_back({session.slot, token, session.planned++});
  row_sessions_.push_back(session.number);
}

// A session whose last token is being chosen is taken no further, though its end is not known yet.
bool Scheduler::may_choose_more(const Session& session) const {
  const bool full = !limits_.session.endless() && session.planned >= limits_.session.max_context;
  return session.choices_planned < session.request.max_tokens && !full;
}

void Scheduler::add_decode_rows(StepPlan& plan) {
  for (const auto& session : slots_) {
    if (!session || session->prompt_left() > 0 || session->listener->paused()) continue;
    if (!may_choose_more(*session)) continue;
    PlanOutput output;
    output.row = static_cast<std::int32_t>(plan.rows.size());
    output.logprobs = session->request.logprobs;
    output.top_logprobs = session->request.logprobs ? session->request.top_logprobs : 0;
    plan.outputs.push_back(output);
    ++session->choices_planned;
    add_row(*session, kernels::kLastChosen, plan);
  }
}

// The step's prompt tokens are shared evenly, so that a short prompt never waits for a long one; what some
// leave over the others take, beginning with another session each step.
void Scheduler::add_prefill_rows(StepPlan& plan) {
  std::vector<Session*> sessions;
  for (std::int32_t i = 0; i < limits_.num_slots; ++i) {
    Session* session = session_in((prefill_turn_ + i) % limits_.num_slots);
    if (session && session->prompt_left() > 0 && !session->listener->paused()) sessions.push_back(session);
  }
  if (sessions.empty()) return;
  prefill_turn_ = (sessions.front()->slot + 1) % limits_.num_slots;

  std::vector<std::int64_t> shares(sessions.size(), 0);
  std::int64_t budget = limits_.prefill_chunk;
  for (bool any = true; any && budget > 0;) {
    any = false;
    const std::int64_t even = std::max<std::int64_t>(1, budget / std::ssize(sessions));
    for (std::size_t i = 0; i < sessions.size() && budget > 0; ++i) {
      const std::int64_t wanted = std::min(sessions[i]->prompt_left(), limits_.session_chunk) - shares[i];
      const std::int64_t given = std::min({wanted, even, budget});
      shares[i] += given;
      budget -= given;
      any = any || given > 0;
    }
  }
  for (std::size_t i = 0; i < sessions.size(); ++i) take_prompt(*sessions[i], shares[i], plan);
}

void Scheduler::take_prompt(Session& session, std::int64_t count, StepPlan& plan) {
  const GenerationRequest& request = session.request;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto position = static_cast<std::size_t>(session.planned);
    const bool is_last = position + 1 == request.prompt.size();
    PlanOutput output;
    output.row = static_cast<std::int32_t>(plan.rows.size());
    if (!is_last && request.prompt_logprobs) {
      output.kind = PlanOutput::Kind::score;
      output.target = request.prompt[position + 1];
      output.top_logprobs = request.top_prompt_logprobs;
      plan.outputs.push_back(output);
    } else if (is_last && request.max_tokens > 0) {
      output.logprobs = request.logprobs;
      output.top_logprobs = request.logprobs ? request.top_logprobs : 0;
      plan.outputs.push_back(output);
      ++session.choices_planned;
    }
    add_row(session, request.prompt[position], plan);
  }
  prompt_tokens_ += count;
  if (request.prompt_logprobs && count > 0 && session.planned == count) {
    session.listener->on_token({0, request.prompt[0], true, std::nullopt, {}});
  }
}

void Scheduler::deliver(Session& session, const PlanOutput& output, const PlanRow& row,
                        const kernels::Choice& choice) {
  const bool sampled = output.kind == PlanOutput::Kind::sample;
  if (choice.token < 0 || !std::isfinite(choice.logprob)) {
    finish(session, FinishReason::failed,
           "the model's logits are not finite at position " + std::to_string(row.position) +
               "; the checkpoint may be damaged");
    return;
  }
  if (sampled) {
    if (session.generated++ == 0) end_phase(session, prefill_);
    ++generated_tokens_;
    if (is_end(session, choice.token)) return finish(session, FinishReason::stop, "", choice.token);
  }
  TokenEvent event{row.position + 1,
                   choice.token,
                   !sampled,
                   std::nullopt,
                   {choice.top.begin(), choice.top.begin() + choice.top_count},
                   choice.rank};
  if (!sampled || output.logprobs) event.logprob = choice.logprob;
  session.listener->on_token(std::move(event));
  if (!sampled) return;
  const bool full = !limits_.session.endless() && session.seen >= limits_.session.max_context;
  if (session.generated >= session.request.max_tokens || full) finish(session, FinishReason::length);
}

// A request that only reads its prompt ends when the prompt has been taken in.
void Scheduler::finish_scored_prompts() {
  for (const auto& session : slots_) {
    if (session && session->request.max_tokens == 0 && session->seen == std::ssize(session->request.prompt)) {
      end_phase(*session, prefill_);
      finish(*session, FinishReason::length);
    }
  }
}

void Scheduler::end_phase(Session& session, DurationHistogram& histogram) {
  const Clock::time_point now = Clock::now();
  histogram.add(to_seconds(now - session.phase_begin));
  session.phase_begin = now;
}

void Scheduler::finish(Session& session, FinishReason reason, const std::string& message,
                       std::optional<TokenId> stop_token) {
  if (session.generated > 0) end_phase(session, decode_);
  const SessionUsage usage = session_usage(session.seen, limits_.session.window);
  finished_evicted_ += usage.evicted_tokens;
  session.listener->on_finish({reason, message, usage, stop_token});
  operations_.push_back({SlotOperation::Kind::close, session.slot, {}, {}});
  slots_[static_cast<std::size_t>(session.slot)].reset();  // `session` ends here
}

bool Scheduler::is_end(const Session& session, TokenId token) const {
  const auto has = [&](const std::vector<TokenId>& tokens) {
    return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
  };
  return (!session.request.ignore_eos && has(limits_.end_tokens)) || has(session.request.stop_token_ids);
}

}  // namespace sinkstream
