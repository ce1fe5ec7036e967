#include "coordinator/api/sessions/client_session.h"

#include <algorithm>
#include <ctime>

namespace sinkstream {

ClientSession::ClientSession(SessionFacts facts, SessionContents contents, TimePoint now)
    : facts_(std::move(facts)),
      contents_(std::move(contents)),
      last_used_(now),
      last_used_at_(std::time(nullptr)) {}

ClientSession::ClientSession(SessionFacts facts, const Summary& summary, std::int64_t last_used_at,
                             TimePoint last_used)
    : facts_(std::move(facts)),
      contents_{.transcript = Transcript(1)},
      on_disk_(summary),
      running_(false),
      last_used_(last_used),
      last_used_at_(last_used_at) {}

std::shared_ptr<ClientSession> ClientSession::as_on_disk() const {
  const std::lock_guard lock(mutex_);
  return std::make_shared<ClientSession>(facts_, summary(), last_used_at_, last_used_);
}

ClientSession::Summary ClientSession::summary() const {
  if (on_disk_) return *on_disk_;
  return {.tokens = contents_.tokens(),
          .unsent = std::ssize(contents_.unsent),
          .pending = contents_.pending,
          .same_arithmetic = contents_.same_arithmetic,
          .cut_at = contents_.cut_at};
}

ClientSession::View ClientSession::view() const {
  const std::lock_guard lock(mutex_);
  const Summary now = summary();
  const bool in_engine = engine_id_ != kNoSession;
  const std::int64_t untaken = now.unsent + (in_engine ? now.pending : 0);
  SessionUsage usage = session_usage(now.tokens, facts_.window);
  const SessionUsage taken_in = session_usage(now.tokens - untaken, facts_.window);
  usage.resident_tokens = in_engine ? taken_in.resident_tokens : 0;
  usage.evicted_tokens = taken_in.evicted_tokens;
  return {usage, in_engine ? facts_.slot_bytes : 0, running_, last_used_at_, now.same_arithmetic, now.cut_at};
}

KeptTokens ClientSession::read(std::int64_t from, std::int64_t to) const {
  const std::lock_guard lock(mutex_);
  const std::int64_t begin = std::clamp(from, contents_.transcript.begin(), contents_.transcript.end());
  return {begin, contents_.transcript.read(begin, to)};
}

bool ClientSession::begin_turn() {
  const std::lock_guard lock(mutex_);
  return !std::exchange(running_, true);
}

void ClientSession::end_turn(TimePoint now) {
  const std::lock_guard lock(mutex_);
  running_ = false;
  last_used_ = now;
  last_used_at_ = std::time(nullptr);
}

SessionId ClientSession::leave_engine_if_idle(const SessionShape& shape) {
  const std::lock_guard lock(mutex_);
  const bool can_leave =
      !running_ && !on_disk_ && contents_.past_begin(contents_.tokens(), facts_.window, shape);
  return can_leave ? leave_engine() : kNoSession;
}

bool ClientSession::in_memory() const {
  const std::lock_guard lock(mutex_);
  return !on_disk_;
}

std::int64_t ClientSession::tokens() const {
  const std::lock_guard lock(mutex_);
  return summary().tokens;
}

void ClientSession::put_in_memory(SessionContents contents) {
  const std::lock_guard lock(mutex_);
  contents_ = std::move(contents);
  on_disk_.reset();
}

void ClientSession::leave_memory() {
  const std::lock_guard lock(mutex_);
  drop_contents();
}

void ClientSession::set_on_disk(const Summary& summary) {
  const std::lock_guard lock(mutex_);
  if (on_disk_) on_disk_ = summary;
}

bool ClientSession::leave_memory_if_idle() {
  const std::lock_guard lock(mutex_);
  if (running_ || on_disk_ || engine_id_ != kNoSession) return false;
  drop_contents();
  return true;
}

// What is shown of it stays.
void ClientSession::drop_contents() {
  on_disk_ = summary();
  contents_ = {.transcript = Transcript(1)};
}

ClientSession::TimePoint ClientSession::last_used() const {
  const std::lock_guard lock(mutex_);
  return last_used_;
}

ClientSession::TimePoint ClientSession::expires(TimePoint now) const {
  const std::chrono::duration<double> ttl(facts_.ttl_seconds);
  const std::lock_guard lock(mutex_);
  return (running_ ? now : last_used_) + std::chrono::duration_cast<TimePoint::duration>(ttl);
}

}  // namespace sinkstream
