#include "coordinator/api/sessions/client_session.h"

#include <ctime>

namespace sinkstream {

ClientSession::ClientSession(SessionFacts facts, SessionContents contents, TimePoint now)
    : facts_(std::move(facts)),
      contents_(std::move(contents)),
      last_used_(now),
      last_used_at_(std::time(nullptr)) {}

ClientSession::View ClientSession::view() const {
  const std::lock_guard lock(mutex_);
  const bool in_engine = engine_id_ != kNoSession;
  const std::int64_t untaken = std::ssize(contents_.unsent) + (in_engine ? contents_.pending : 0);
  SessionUsage usage = session_usage(contents_.tokens(), facts_.window);
  const SessionUsage taken_in = session_usage(contents_.tokens() - untaken, facts_.window);
  usage.resident_tokens = in_engine ? taken_in.resident_tokens : 0;
  usage.evicted_tokens = taken_in.evicted_tokens;
  return {usage, in_engine ? facts_.slot_bytes : 0, running_, last_used_at_};
}

std::pair<std::int64_t, std::int64_t> ClientSession::kept() const {
  const std::lock_guard lock(mutex_);
  return {contents_.transcript.begin(), contents_.transcript.end()};
}

std::vector<TokenId> ClientSession::read(std::int64_t from, std::int64_t to) const {
  const std::lock_guard lock(mutex_);
  return contents_.transcript.read(from, to);
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
  const bool can_leave = !running_ && contents_.past_begin(contents_.tokens(), facts_.window, shape);
  return can_leave ? leave_engine() : kNoSession;
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
