#include "worker/engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "base/durations.h"

namespace sinkstream {
namespace {

TurnEnded turn_ended(const ActiveRequest& request, std::int32_t choice, FinishReason reason,
                     const std::string& message = "") {
  return {.request = request.command.request, .choice = choice, .reason = reason, .message = message};
}

// What a turn takes in: what is pending, then its prompt.
Input input_of(const SharedTokens& prompt, std::vector<TokenId> pending, std::int64_t begin) {
  Input input{.tokens = prompt, .begin = begin, .told = std::ssize(pending)};
  if (!pending.empty()) {
    pending.insert(pending.end(), prompt.begin(), prompt.end());
    input.tokens = std::move(pending);
  }
  input.size = static_cast<std::int64_t>(input.tokens.size());
  return input;
}

// The same of a session that takes in its past first.
Input input_of(const SharedTokens& prompt, const std::vector<TokenId>& pending, const Past& past) {
  std::vector<TokenId> told = past.sinks.list();
  told.insert(told.end(), past.recent.begin(), past.recent.end());
  told.insert(told.end(), pending.begin(), pending.end());
  Input input = input_of(prompt, std::move(told), /*begin=*/0);
  input.gap_begin = std::ssize(past.sinks);
  input.gap_end = past.begin;
  return input;
}

}  // namespace

Scheduler::Scheduler(SchedulerLimits limits, std::function<void(Event)> tell)
    : limits_(std::move(limits)),
      tell_(std::move(tell)),
      table_(limits_.session, limits_.num_slots, limits_.num_places),
      prefill_budget_(limits_.prefill_chunk, limits_.prefill_slowdown) {}

// ---- Commands about turns

void Scheduler::take(Generate command, Clock::time_point received) {
  if (command.session == kNoSession) {
    const auto request = std::make_shared<ActiveRequest>(std::move(command), received);
    for (std::size_t prompt = 0; prompt < request->command.prompts.size(); ++prompt) {
      const auto n = request->command.n;
      waiting_.push_back({request, static_cast<std::int32_t>(prompt) * n, n});
    }
    return;
  }
  if (refuses_turn(command)) return;
  tell_(Accepted{command.request});
  if (const auto opened = new_sessions_.find(command.session); opened != new_sessions_.end()) {
    look_for_snapshot(opened->second, std::ssize(command.prompts.front()));
  }
  const bool at_once = goes_on_at_once(table_.find(command.session));
  Choices turn{std::make_shared<ActiveRequest>(std::move(command), received), 0, 1};
  if (at_once) return start(std::move(turn));
  waiting_.push_back(std::move(turn));
}

void Scheduler::take(const Grant& command) {
  const auto raise = [&](ActiveRequest& request) {
    const bool is_meant = request.command.request == command.request && command.choice >= 0 &&
                          static_cast<std::size_t>(command.choice) < request.credits.size();
    if (!is_meant) return;
    Credit& credit = request.credit(command.choice);
    credit.granted = std::max(credit.granted, command.token_events);
  };
  // Choices of a request that wait, run and branch have one record.
  for (const Choices& choices : waiting_) raise(*choices.request);
  table_.for_each([&](Session& session) {
    if (!session.resting()) raise(*session.request());
  });
}

void Scheduler::take(const EndTurn& command) {
  table_.for_each([&](Session& session) {
    const bool in_turn = session.turn && session.turn->choice == command.choice &&
                         session.turn->request->command.request == command.request;
    if (in_turn) stop(session, command);
  });
  // A turn that had ended by itself: its session goes back all the same, unless the next waits already.
  table_.for_each_kept([&](Session& session) {
    const bool was_last = session.resting() && command.choice == 0 && command.request != 0 &&
                          session.last_request == command.request && !is_waiting(session.id);
    if (!was_last || command.position > session.seen || !table_.can_roll_back(session, command.position)) {
      return;
    }
    table_.roll_back(session, command.position);
    session.pending = command.pending;
    tell_(changed(command.request, session.id));
  });
}

void Scheduler::stop(Session& session, const EndTurn& command) {
  const bool was_told = command.position >= 0 && command.position <= session.seen;
  if (session.id == kNoSession && was_told) {
    session.seen = command.position;  // nothing comes after it, so nothing has to go back
  } else if (was_told && table_.can_roll_back(session, command.position)) {
    table_.roll_back(session, command.position);
  } else {
    return cancel_turn(session);
  }
  end_turn(session, FinishReason::stop, command.pending);
}

void Scheduler::take(const Cancel& command) {
  const auto is_meant = [&](const Choices& choices) {
    return !choices.empty() && choices.request->command.request == command.request;
  };
  end_waiting(is_meant, FinishReason::cancelled, "");
  table_.for_each([&](Session& session) {
    if (is_meant(session.branches)) {
      end_choices(std::exchange(session.branches, {}), FinishReason::cancelled, "");
      table_.close(session);
    } else if (session.turn && session.turn->request->command.request == command.request) {
      cancel_turn(session);
    }
  });
}

void Scheduler::end_all(FinishReason reason, const std::string& message) {
  end_waiting([](const Choices&) { return true; }, reason, message);
  table_.for_each([&](Session& session) { fail(session, reason, message); });
  table_.for_each_kept([&](Session& session) { fail(session, reason, message); });
  new_sessions_.clear();
  refuse_saves(reason == FinishReason::ending ? RefusalReason::ending : RefusalReason::failed, message);
  for (const SessionChanged& fork : std::exchange(forks_, {})) {
    refuse(fork.request, RefusalReason::ending, message);
  }
}

// ---- From the queue to slots

void Scheduler::admit() {
  // Whoever came first is served first: branches of what is in slots before what waits for one.
  table_.for_each([&](Session& session) {
    // What a prompt puts out is told before anything of its choices.
    const bool is_told = !session.input.scored || session.seen == session.planned;
    if (!session.branches.empty() && session.input_left() == 0 && is_told) branch(session);
  });
  serve_waiting();
  make_room();
}

void Scheduler::serve_waiting() {
  const auto find_next = [&] {
    return std::ranges::find_if(waiting_,
                                [&](const Choices& choices) { return !waits_for_snapshot(choices); });
  };
  for (auto next = find_next(); next != waiting_.end(); next = find_next()) {
    if (!table_.free_slot() && !stands_in_slot(*next)) return;
    Choices choices =
        next->share_prefill() ? std::exchange(*next, {}) : Choices{next->request, next->take(), 1};
    if (next->empty()) waiting_.erase(next);
    start(std::move(choices));
  }
}

void Scheduler::start(Choices choices) {
  const auto request = choices.request;
  if (Session* const session = table_.find(request->command.session)) return go_on(*session, request);
  NewSession opened{.window = limits_.session.window, .past = {}, .pending = {}};
  if (auto node = new_sessions_.extract(request->command.session)) opened = std::move(node.mapped());
  const std::int32_t slot = *table_.free_slot();
  Session& session = opened.found ? take_up(slot, request->command.session, opened)
                                  : table_.open(slot, request->command.session, opened.window);
  const bool has_its_past = opened.found && session.planned >= opened.past.tokens();
  session.input = has_its_past ? input_of(choices.prompt(), opened.pending, session.planned)
                               : input_of(choices.prompt(), opened.pending, opened.past);
  if (opened.past.has_gap() && !opened.found) {
    session.sound_from = sound_from(opened.past.begin, opened.window, limits_.session.num_layers);
  }
  session.past = std::move(opened.past);
  note_queueing(session, *request);
  session.input.scored =
      request->command.params.prompt_logprobs && choices.first == request->first_of_prompt(choices.first);
  if (choices.count == 1) return begin_turn(session, request, choices.first);
  --session.input.size;  // the last token is each choice's own: from its logits they choose
  session.branches = std::move(choices);
}

// The next turn of a session that has taken something in: where it stands, or out of its parking place.
void Scheduler::go_on(Session& session, const std::shared_ptr<ActiveRequest>& request) {
  if (!session.slot) {
    table_.restore(session, *table_.free_slot());
    ++restores_;
  }
  std::vector<TokenId> pending = std::exchange(session.pending, {});
  session.input = session.replays() ? input_of(request->prompt(0), pending, session.past)
                                    : input_of(request->prompt(0), std::move(pending), session.seen);
  session.input.scored = request->command.params.prompt_logprobs;
  session.began = Clock::now();
  note_queueing(session, *request);
  begin_turn(session, request, 0);
}

// Turns for the choices that share this session's prompt, as far as there are slots. What was taken in is
// held for the others as long as some of them are in a turn.
void Scheduler::branch(Session& session) {
  const auto go_on = [&](Session& branch) {
    branch.began = session.began;
    branch.input = {.tokens = session.branches.prompt(), .size = session.input.size + 1};
    begin_turn(branch, session.branches.request, session.branches.take());
  };
  while (session.branches.count > 1) {
    const auto slot = table_.free_slot();
    if (!slot && (is_in_turn(*session.branches.request) || can_make_room())) {
      session.began = Clock::now();  // those that come later have been waiting until then
      return;
    }
    if (!slot) {  // nobody of them would be served: the others take their prompt in again, later
      const Choices& rest = session.branches;
      waiting_.push_front({rest.request, rest.first + 1, rest.count - 1});
      session.branches.count = 1;
      break;
    }
    Session& copy = table_.copy(session, *slot, kNoSession);
    note_queueing(session, *session.branches.request);
    go_on(copy);
  }
  go_on(session);
  session.branches = {};
}

bool Scheduler::is_in_turn(const ActiveRequest& request) const {
  bool is = false;
  table_.for_each(
      [&](const Session& session) { is = is || (session.turn && session.turn->request.get() == &request); });
  return is;
}

void Scheduler::begin_turn(Session& session, const std::shared_ptr<ActiveRequest>& request,
                           std::int32_t choice) {
  session.turn = {.request = request, .choice = choice, .phase_begin = session.began};
  session.last_request = request->command.request;
  session.last_use = ++uses_;
  session.slot_wanted = false;
  table_.begin_turn(session, sampling_of(*request, choice));
}

// A choice has its slot, or shares that of its prompt.
void Scheduler::note_queueing(const Session& session, const ActiveRequest& request) {
  queueing_.add(to_seconds(session.began - request.received));
}

SamplingParams Scheduler::sampling_of(const ActiveRequest& request, std::int32_t choice) const {
  const TurnParams& params = request.command.params;
  SamplingParams sampling = params.sampling;
  sampling.seed += static_cast<std::uint64_t>(choice % request.command.n);
  if (sampling.min_tokens == 0 && sampling.repeat_last_n <= 0) return sampling;
  sampling.end_tokens = limits_.end_tokens;
  sampling.end_tokens.insert(sampling.end_tokens.end(), params.stop_token_ids.begin(),
                             params.stop_token_ids.end());
  return sampling;
}

// ---- Ends

// A session that goes on has what was taken in of it, and nothing of what is under way.
void Scheduler::end_turn(Session& session, FinishReason reason, std::vector<TokenId> pending,
                         std::optional<TokenId> stop_token) {
  Turn turn = *std::exchange(session.turn, std::nullopt);
  if (turn.generated > 0) end_phase(turn, decode_);
  if (session.id != kNoSession && session.planned > session.seen) table_.roll_back(session, session.seen);
  session.last_use = ++uses_;
  session.input = {};
  if (!session.replays()) session.past = {};
  session.pending = std::move(pending);
  TurnEnded event = turn_ended(*turn.request, turn.choice, reason);
  event.usage = session.usage();
  event.stop_token = stop_token;
  event.pending = session.pending;
  event.replayed_tokens = turn.replayed;
  tell_(std::move(event));
  if (session.id == kNoSession) table_.close(session);
}

// What a session was given stays its own; what it had no time for is pending, but for its past, of which the
// next turn takes in the rest.
void Scheduler::cancel_turn(Session& session) {
  const std::int64_t known = std::max(session.seen, std::min(session.planned, session.input.end()));
  std::vector<TokenId> pending = session.turn->untaken();
  for (std::int64_t position = std::max(known, session.past.tokens()); position < session.input.end();
       ++position) {
    pending.push_back(session.input.at(position));
  }
  if (session.id != kNoSession) table_.roll_back(session, known);
  end_turn(session, FinishReason::cancelled, std::move(pending));
}

// Of those that had no turn yet. What a session was to take in stays pending.
void Scheduler::end_choices(const Choices& choices, FinishReason reason, const std::string& message) {
  for (std::int32_t i = 0; i < choices.count; ++i) {
    TurnEnded event = turn_ended(*choices.request, choices.first + i, reason, message);
    const SessionId id = choices.request->command.session;
    if (const Session* const session = table_.find(id)) event.usage = session->usage();
    if (const auto opened = new_sessions_.find(id); opened != new_sessions_.end()) {
      event.usage = session_usage(opened->second.past.tokens(), opened->second.window);
    }
    if (std::vector<TokenId>* const pending = pending_of(id)) {
      pending->insert(pending->end(), choices.prompt().begin(), choices.prompt().end());
      event.pending = *pending;
    }
    tell_(std::move(event));
  }
}

void Scheduler::end_waiting(const std::function<bool(const Choices&)>& which, FinishReason reason,
                            const std::string& message) {
  std::erase_if(waiting_, [&](const Choices& choices) {
    if (!which(choices)) return false;
    end_choices(choices, reason, message);
    return true;
  });
}

// Nothing of the session is left.
void Scheduler::fail(Session& session, FinishReason reason, const std::string& message) {
  if (session.id != kNoSession) {
    end_waiting([&](const Choices& choices) { return choices.request->command.session == session.id; },
                reason, message);
  }
  if (session.turn) {
    if (session.turn->generated > 0) end_phase(*session.turn, decode_);
    TurnEnded event = turn_ended(*session.turn->request, session.turn->choice, reason, message);
    event.usage = session.usage();
    tell_(std::move(event));
  }
  end_choices(session.branches, reason, message);
  table_.close(session);
}

bool Scheduler::is_end(const TurnParams& params, TokenId token) const {
  const auto has = [&](const std::vector<TokenId>& tokens) {
    return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
  };
  return (!params.ignore_eos && has(limits_.end_tokens)) || has(params.stop_token_ids);
}

bool Scheduler::is_full(std::int64_t tokens) const {
  return !limits_.session.endless() && tokens >= limits_.session.max_context;
}

// ---- Counts

std::int32_t Scheduler::waiting() const {
  std::int32_t count = 0;
  for (const Choices& choices : waiting_) count += choices.count;
  table_.for_each([&](const Session& session) { count += std::max(0, session.branches.count - 1); });
  return count;
}

void Scheduler::add_counts(EngineStats& stats) const {
  stats.used_slots = limits_.num_slots - free_slots();
  stats.waiting = waiting();
  stats.prompt_tokens = prompt_tokens_;
  stats.replayed_tokens = replayed_tokens_;
  stats.seconds_per_prompt_token = prefill_budget_.seconds_per_prompt_token();
  stats.generated_tokens = generated_tokens_;
  stats.evicted_tokens = evicted_tokens_;
  stats.queueing = queueing_;
  stats.prefill = prefill_;
  stats.decode = decode_;
  stats.resident_tokens = 0;
  stats.resident_sessions = 0;
  stats.running = 0;
  table_.for_each([&](const Session& session) {
    stats.resident_tokens += session_usage(session.seen, session.window).resident_tokens;
    stats.resident_sessions += session.id != kNoSession ? 1 : 0;
    stats.running += session.resting() ? 0 : 1;
  });
  stats.parked_sessions = table_.parked();
  stats.parked_bytes = stats.parked_sessions * limits_.place_bytes;
  stats.parks = parks_;
  stats.restores = restores_;
  stats.snapshots_saved = traffic_.saved;
  stats.snapshot_save_seconds = traffic_.save_seconds;
  stats.snapshots_taken_up = traffic_.taken_up;
  stats.snapshots_failed = traffic_.failed;
}

}  // namespace sinkstream
