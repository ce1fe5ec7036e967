#include "coordinator/api/sessions/session_registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <random>

#include "coordinator/api/journal/journal.h"
#include "coordinator/api/sessions/session_errors.h"
#include "coordinator/api/sessions/session_turn.h"
#include "coordinator/http/access/access.h"
#include "coordinator/http/message/request_error.h"
#include "coordinator/store/sha256.h"

namespace sinkstream {
namespace {

// Sessions that are used again and again move their ends; looking at all of them for each would cost.
constexpr std::chrono::milliseconds kShortestSleep{100};
// A disk that took no removal is not asked for the next at once.
constexpr std::chrono::seconds kBetweenTries{10};

// 128 bits from the system: nobody can guess it.
std::string new_session_id() {
  std::random_device random;
  return fmt::format("sess_{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

std::size_t most_sessions(const SessionSettings& settings, const EngineLimits& limits) {
  constexpr std::int64_t kOnDisk = 10000;
  const std::int64_t all_can_rest =
      settings.directory.empty() ? std::max({limits.num_places, limits.num_slots / 2, 1}) : kOnDisk;
  return static_cast<std::size_t>(settings.max_sessions.value_or(all_can_rest));
}

RequestError with_seen(RequestError error, std::int64_t seen_tokens) {
  error.numbers.emplace_back("seen_tokens", seen_tokens);
  return error;
}

}  // namespace

SessionRegistry::SessionRegistry(EngineClient& engine, std::weak_ptr<Executor> executor,
                                 const SessionSettings& settings, bool has_keys, Journal* journal,
                                 std::string arithmetic)
    : executor_(std::move(executor)),
      settings_(settings),
      shape_(engine.limits().session),
      max_sessions_(most_sessions(settings, engine.limits())),
      has_keys_(has_keys),
      salt_(journal ? journal->salt() : std::string()),
      kept_(std::make_shared<KeptSessions>()),
      in_engine_(
          std::make_shared<SessionsInEngine>(engine, executor_, kept_, /*on_disk=*/journal != nullptr)),
      on_disk_(std::make_shared<SessionsOnDisk>(journal, std::move(arithmetic), settings, shape_, executor_,
                                                kept_, in_engine_)),
      snapshots_(engine, executor_, settings, /*on_disk=*/journal != nullptr) {}

void SessionRegistry::take_up(std::int64_t slot_bytes) {
  next_number_ = on_disk_->take_up(slot_bytes) + 1;
  snapshots_.keep_only(*kept_);
  expire();
}

std::string SessionRegistry::owner_of(const Request& request) const {
  return has_keys_ ? to_hex(hmac_sha256(salt_, api_key_of(request))) : std::string();
}

std::shared_ptr<ClientSession> SessionRegistry::add(SessionFacts facts, SessionContents contents,
                                                    const ClientSession* from) {
  expire();
  contents.arithmetic = on_disk_->arithmetic();
  contents.saved.clear();  // where it has another's tokens
  facts.id = new_session_id();
  facts.created_at = std::time(nullptr);
  const auto now = this->now();
  const auto session = kept_->with_all([&](KeptSessions::Map& sessions) {
    check_room(sessions, facts.owner);
    facts.number = next_number_++;
    const auto added = std::make_shared<ClientSession>(std::move(facts), std::move(contents), now);
    sessions.emplace(added->facts().id, added);
    return added;
  });
  wake_at(session->expires(now));
  on_disk_->record_new(*session, from);
  return session;
}

void SessionRegistry::check_room(const KeptSessions::Map& sessions, const std::string& owner) const {
  if (sessions.size() >= max_sessions_) {
    throw too_busy(
        fmt::format("The server keeps as many sessions as it may, {} (sessions.max_sessions); delete "
                    "one, or try again later.",
                    max_sessions_));
  }
  if (!settings_.max_sessions_per_key) return;
  const auto is_its = [&](const auto& entry) { return entry.second->facts().owner == owner; };
  if (std::ranges::count_if(sessions, is_its) < *settings_.max_sessions_per_key) return;
  throw too_busy(fmt::format(
      "Your key keeps as many sessions as it may, {} (sessions.max_sessions_per_key); delete one, or try "
      "again later.",
      *settings_.max_sessions_per_key));
}

std::shared_ptr<ClientSession> SessionRegistry::find(const std::string& id, const Request& request) {
  auto session = find_to_remove(id, request);
  if (!session->facts().damage.empty()) throw session_damaged(session->facts().damage);
  return session;
}

// Whose a damaged one is is not known either.
std::shared_ptr<ClientSession> SessionRegistry::find_to_remove(const std::string& id,
                                                               const Request& request) {
  const auto now = this->now();
  auto session = kept_->find(id);
  if (!session || session->expires(now) <= now) throw no_such_session(id);
  const SessionFacts& facts = session->facts();
  if (facts.damage.empty() && facts.owner != owner_of(request)) throw no_such_session(id);
  return session;
}

std::shared_ptr<SessionTurn> SessionRegistry::begin_turn(const std::string& id, const Request& request,
                                                         std::optional<std::int64_t> expected_seen) {
  const auto session = find(id, request);
  require_room(session->facts().window);
  if (!session->begin_turn()) {
    throw with_seen({409, "conflict_error", "session_busy",
                     "The session is in a turn; wait for its end, or close its connection.", "session"},
                    session->view().usage.seen_tokens);
  }
  auto turn = std::make_shared<SessionTurn>(shared_from_this(), session);
  if (!session->in_memory()) on_disk_->load(*session);
  const std::int64_t seen = turn->contents().tokens();
  if (expected_seen.value_or(seen) != seen) {
    const std::string message =
        fmt::format("The session has seen {} tokens, not {} (expected_seen).", seen, *expected_seen);
    throw with_seen(conflict("stale_session", message, "session"), seen);
  }
  return turn;
}

// A session on disk may be of a server that had room for more.
void SessionRegistry::require_room(const CacheWindow& window) const {
  if (window.sink_tokens <= shape_.sink_capacity && window.window_tokens <= shape_.window.window_tokens)
    return;
  throw conflict("window_too_large",
                 fmt::format("The session remembers {} first and {} newest tokens; since its settings were "
                             "changed the server has room for {} and {} (cache.mode, cache.max_sink_tokens, "
                             "cache.window_tokens). Set them as they were, or begin a new session; its "
                             "transcript can be read.",
                             window.sink_tokens, window.window_tokens, shape_.sink_capacity,
                             shape_.window.window_tokens),
                 "session");
}

std::vector<std::shared_ptr<ClientSession>> SessionRegistry::list(const Request& request) {
  expire();
  const std::string owner = owner_of(request);
  const auto now = this->now();
  auto found = kept_->all();
  std::erase_if(found, [&](const auto& session) {
    const SessionFacts& facts = session->facts();
    return facts.owner != owner || !facts.damage.empty() || session->expires(now) <= now;
  });
  std::ranges::sort(found, {}, [](const auto& session) { return session->facts().number; });
  return found;
}

void SessionRegistry::remove(ClientSession& session) {
  if (kept_->erase(session.facts().id)) end(session);
}

void SessionRegistry::end(ClientSession& session) {
  in_engine_->leave(session);
  snapshots_.drop(session);
  on_disk_->record_end(session, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->note_not_removed();
  });
}

void SessionRegistry::note_not_removed() {
  const auto time = now() + kBetweenTries;
  {
    const std::lock_guard lock(mutex_);
    expires_none_until_ = time;
  }
  wake_at(time);
}

// The timer may be late; whoever asks is told as if it were not.
void SessionRegistry::expire() {
  const auto now = this->now();
  const auto begin = [this] {
    const std::lock_guard lock(mutex_);
    return expires_none_until_;
  }();
  if (now < begin) return wake_at(begin);
  auto next = Executor::TimePoint::max();
  std::vector<std::shared_ptr<ClientSession>> expired;
  kept_->with_all([&](KeptSessions::Map& sessions) {
    std::erase_if(sessions, [&](const auto& entry) {
      const auto expires = entry.second->expires(now);
      if (expires > now) {
        next = std::min(next, expires);
        return false;
      }
      expired.push_back(entry.second);
      return true;
    });
  });
  for (const auto& session : expired) end(*session);
  if (next != Executor::TimePoint::max()) wake_at(std::max(next, now + kShortestSleep));
}

void SessionRegistry::wake_at(Executor::TimePoint time) {
  const auto executor = executor_.lock();
  const std::lock_guard lock(mutex_);
  if (!executor || time >= wakes_at_) return;
  wakes_at_ = time;
  executor->post_at(time, [weak = weak_from_this(), time] {
    const auto self = weak.lock();
    if (!self) return;
    {
      const std::lock_guard inner_lock(self->mutex_);
      if (self->wakes_at_ != time) return;  // it woke earlier, and set out anew
      self->wakes_at_ = Executor::TimePoint::max();
    }
    self->expire();
  });
}

Executor::TimePoint SessionRegistry::now() const {
  const auto executor = executor_.lock();
  return executor ? executor->now() : Executor::TimePoint();
}

}  // namespace sinkstream
