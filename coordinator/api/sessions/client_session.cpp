#include "coordinator/api/sessions/client_session.h"

#include <ctime>

namespace sinkstream {

ClientSession::ClientSession(SessionFacts facts, SessionContents contents)
    : facts_(std::move(facts)), contents_(std::move(contents)), last_used_at_(std::time(nullptr)) {}

ClientSession::View ClientSession::view() const {
  const std::lock_guard lock(mutex_);
  return {session_usage(contents_.tokens(), facts_.window), running_, last_used_at_};
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

void ClientSession::end_turn() {
  const std::lock_guard lock(mutex_);
  running_ = false;
  last_used_ = Clock::now();
  last_used_at_ = std::time(nullptr);
}

bool ClientSession::unused_since(Clock::time_point time) const {
  const std::lock_guard lock(mutex_);
  return !running_ && last_used_ <= time;
}

}  // namespace sinkstream
