// Sessions that are kept in files, and come from there. A session's state is copied to a place first, from
// which the ranks write beside the steps, and read into another, from which it is restored like one that was
// parked. How their jobs are is asked in plans.
#include <algorithm>
#include <utility>

#include "base/durations.h"
#include "worker/engine/scheduler.h"

namespace sinkstream {
namespace {

// So rarely that asking costs nothing, so often that nobody waits for long.
constexpr std::chrono::milliseconds kAskEvery{5};
// Whoever has waited so long for a file is made anew instead.
constexpr std::chrono::seconds kPatience{10};

}  // namespace

// ---- Commands

void Scheduler::take(const SaveSession& command) {
  if (refuses_save(command)) return;
  saves_.push_back({command, table_.find(command.session)->number});
  begin_save();  // before it goes on, if it is told to next
}

bool Scheduler::refuses_save(const SaveSession& command) {
  if (refuses(command.request, command.session)) return true;
  const Session* const session = table_.find(command.session);
  if (!session || session->replays()) {
    refuse(command.request, RefusalReason::invalid, "the session has not taken in what it has");
  } else if (session->tokens() != command.tokens) {
    refuse(command.request, RefusalReason::not_as_expected,
           "the session has " + std::to_string(session->tokens()) + " tokens", session);
  } else {
    return false;
  }
  return true;
}

void Scheduler::take(const DropSnapshot& command) {
  if (limits_.find_snapshot) begin_job(RemoveSnapshot{command.session});
}

void Scheduler::take(const KeepSnapshots& command) {
  if (limits_.find_snapshot) begin_job(KeepOnlySnapshots{command.sessions});
}

std::uint64_t Scheduler::begin_job(SlotOperation operation) {
  table_.operate(std::move(operation));
  return ++traffic_.jobs;
}

// ---- Out

void Scheduler::begin_save() {
  while (!traffic_.out && !saves_.empty()) {
    const auto [command, number] = std::exchange(saves_.front(), {});
    saves_.pop_front();
    if (refuses_save(command)) continue;
    const Session& session = *table_.find(command.session);
    if (session.number != number) {  // it went back since, and has as many tokens again
      refuse(command.request, RefusalReason::not_as_expected, "the session has other tokens", &session);
      continue;
    }
    const Snapshot snapshot{.name = command.name,
                            .window = session.window,
                            .seen = session.seen,
                            .written = std::max(session.written, session.planned),
                            .sound_from = session.sound_from};
    table_.copy_aside(session, out_place());
    traffic_.out = {.job = {.number = begin_job(WriteSnapshot{out_place(), snapshot}), .snapshot = snapshot},
                    .answer = changed(command.request, command.session),
                    .began = Clock::now()};
  }
}

void Scheduler::end_save() {
  const SnapshotTraffic::Out out = *std::exchange(traffic_.out, std::nullopt);
  table_.operate(DropSaved{out_place()});
  if (out.job.failure.empty()) {
    ++traffic_.saved;
    traffic_.save_seconds += to_seconds(Clock::now() - out.began);
    return tell_(out.answer);
  }
  ++traffic_.failed;
  begin_job(RemoveSnapshot{out.job.snapshot.name.session});  // where it could be written
  refuse(out.answer.request, RefusalReason::failed, out.job.failure);
}

// ---- In

// What there is of a session that is about to have its first turn, if that is of use.
void Scheduler::look_for_snapshot(NewSession& opened, std::int64_t new_tokens) {
  opened.found.reset();
  if (opened.snapshots.empty() || !limits_.find_snapshot || is_overdue()) return;
  const std::uint64_t session = opened.snapshots.front().session;
  // What is being written will be there when it is read.
  const bool is_under_way = traffic_.out && traffic_.out->job.snapshot.name.session == session;
  const auto found =
      is_under_way ? std::optional(traffic_.out->job.snapshot) : limits_.find_snapshot(session);
  const std::int64_t tokens = opened.past.tokens();
  if (!found || found->window != opened.window) return;
  if (std::ranges::find(opened.snapshots, found->name) == opened.snapshots.end()) return;
  const bool has_all = found->seen >= opened.past.begin;  // no token between is missing
  const bool has_more = std::min(found->seen, tokens) < tokens + std::ssize(opened.pending) + new_tokens;
  // Of more than the session has, if it went back since.
  const bool is_in_reach = found->seen <= tokens || (tokens >= found->sound_from &&
                                                     can_roll_back(found->written, tokens, found->window,
                                                                   limits_.session.ring_capacity));
  if (has_all && has_more && is_in_reach) opened.found = found;
}

const NewSession* Scheduler::new_session(const Choices& choices) const {
  const auto opened = new_sessions_.find(choices.request->command.session);
  return opened == new_sessions_.end() ? nullptr : &opened->second;
}

// Whether its session's snapshot has to come first.
bool Scheduler::waits_for_snapshot(const Choices& choices) const {
  const NewSession* const opened = new_session(choices);
  return opened && opened->found && !is_there(choices.request->command.session, *opened->found);
}

bool Scheduler::is_there(SessionId session, const Snapshot& snapshot) const {
  const auto& in = traffic_.in;
  return in && in->is_there && in->session == session && in->job.snapshot == snapshot;
}

void Scheduler::begin_load() {
  if (traffic_.in && traffic_.in->is_there) {  // for somebody who may not want it any more
    const auto opened = new_sessions_.find(traffic_.in->session);
    const bool is_wanted = opened != new_sessions_.end() &&
                           opened->second.found == traffic_.in->job.snapshot &&
                           is_waiting(traffic_.in->session);
    if (!is_wanted) end_load();
  }
  if (is_overdue()) {
    for (auto& [id, opened] : new_sessions_) opened.found.reset();
  }
  if (traffic_.in) return;
  const auto next =
      std::ranges::find_if(waiting_, [&](const Choices& choices) { return waits_for_snapshot(choices); });
  if (next == waiting_.end()) return;
  const Snapshot snapshot = *new_session(*next)->found;
  traffic_.in = {.job = {.number = begin_job(ReadSnapshot{in_place(), snapshot}), .snapshot = snapshot},
                 .session = next->request->command.session,
                 .began = Clock::now()};
}

bool Scheduler::is_overdue() const {
  const auto& in = traffic_.in;
  return in && !in->is_there && Clock::now() - in->began > kPatience;
}

void Scheduler::end_load() {
  table_.operate(DropSaved{in_place()});
  traffic_.in.reset();
}

// It is on every rank, or can't be: then the session is made anew from its tokens.
void Scheduler::settle_load() {
  SnapshotTraffic::In& in = *traffic_.in;
  if (in.job.failure.empty()) {
    in.is_there = true;
    return;
  }
  ++traffic_.failed;
  if (const auto opened = new_sessions_.find(in.session); opened != new_sessions_.end()) {
    opened->second.snapshots.clear();
    opened->second.found.reset();
  }
  begin_job(RemoveSnapshot{in.job.snapshot.name.session});
  end_load();
}

// A session that begins where its snapshot stands.
Session& Scheduler::take_up(std::int32_t slot, SessionId id, const NewSession& opened) {
  Session& session = table_.take_up(slot, id, *opened.found, in_place());
  ++traffic_.taken_up;
  end_load();
  if (const std::int64_t tokens = opened.past.tokens(); tokens < session.planned) {
    table_.roll_back(session, tokens);
  }
  return session;
}

// ---- Jobs

void Scheduler::ask_for_jobs() {
  if (!traffic_.waits() || Clock::now() < next_ask_) return;
  next_ask_ = Clock::now() + kAskEvery;
  if (traffic_.out) table_.operate(AskJob{traffic_.out->job.number});
  if (traffic_.in && !traffic_.in->is_there) table_.operate(AskJob{traffic_.in->job.number});
}

std::optional<Scheduler::Clock::time_point> Scheduler::asks_at() const {
  return traffic_.waits() ? std::optional(next_ask_) : std::nullopt;
}

SnapshotJob* Scheduler::job_of(const SlotOperation& operation) {
  const auto place = [&]() -> std::optional<std::int32_t> {
    const auto standing = changed_by(operation);
    if (const auto* const write = std::get_if<WriteSnapshot>(&operation)) return write->place;
    return standing && standing->where == Standing::Where::place ? std::optional(standing->index)
                                                                 : std::nullopt;
  }();
  const auto* const asked = std::get_if<AskJob>(&operation);
  if (traffic_.out && (place == out_place() || (asked && asked->job == traffic_.out->job.number))) {
    return &traffic_.out->job;
  }
  if (traffic_.in && (place == in_place() || (asked && asked->job == traffic_.in->job.number))) {
    return &traffic_.in->job;
  }
  return nullptr;
}

// What the newest step tells of jobs: those that no rank has still to do are settled.
void Scheduler::settle_jobs(const Launched& step, std::span<const OperationFailure> failures) {
  for (std::size_t i = 0; i < step.plan.operations.size(); ++i) {
    const auto* const asked = std::get_if<AskJob>(&step.plan.operations[i]);
    if (!asked) continue;
    const bool is_unfinished = std::ranges::any_of(failures, [&](const OperationFailure& failure) {
      return failure.unfinished && failure.operation == static_cast<std::int32_t>(i);
    });
    if (is_unfinished) continue;
    if (traffic_.out && traffic_.out->job.number == asked->job) end_save();
    if (traffic_.in && traffic_.in->job.number == asked->job) settle_load();
  }
}

// Nobody waits for them any more.
void Scheduler::refuse_saves(RefusalReason reason, const std::string& message) {
  for (const WaitingSave& save : std::exchange(saves_, {})) refuse(save.command.request, reason, message);
  if (!traffic_.out) return;
  refuse(traffic_.out->answer.request, reason, message);
  traffic_.out.reset();
}

}  // namespace sinkstream
