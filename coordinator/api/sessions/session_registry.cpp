#include "coordinator/api/sessions/session_registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <random>

#include "coordinator/api/generation/engine_errors.h"
#include "coordinator/api/journal/journal.h"
#include "coordinator/api/sessions/session_turn.h"
#include "coordinator/http/access/access.h"
#include "coordinator/http/message/request_error.h"
#include "coordinator/store/sha256.h"

namespace sinkstream {
namespace {

// Sessions that are used again and again move their ends; looking at all of them for each would cost.
constexpr std::chrono::milliseconds kShortestSleep{100};

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

RequestError no_such_session(const std::string& id) {
  constexpr std::size_t kMaxQuotedBytes = 64;
  return {404, "not_found_error", "session_not_found",
          "There is no session '" + id.substr(0, kMaxQuotedBytes) +
              "': it was deleted, was not used for its ttl_seconds, or the server has started anew.",
          "session"};
}

SessionRegistry::SessionRegistry(EngineClient& engine, std::weak_ptr<Executor> executor,
                                 const SessionSettings& settings, bool has_keys, Journal* journal,
                                 std::string arithmetic)
    : engine_(engine),
      executor_(std::move(executor)),
      settings_(settings),
      max_sessions_(most_sessions(settings, engine.limits())),
      has_keys_(has_keys),
      journal_(journal),
      salt_(journal ? journal->salt() : std::string()),
      arithmetic_(std::move(arithmetic)) {}

std::string SessionRegistry::owner_of(const Request& request) const {
  return has_keys_ ? to_hex(hmac_sha256(salt_, api_key_of(request))) : std::string();
}

std::shared_ptr<ClientSession> SessionRegistry::add(SessionFacts facts, SessionContents contents,
                                                    const ClientSession* from) {
  expire();
  contents.arithmetic = arithmetic_;
  contents.begin_lineage();
  contents.lineage_before.reset();
  facts.id = new_session_id();
  facts.created_at = std::time(nullptr);
  const auto now = this->now();
  std::shared_ptr<ClientSession> session;
  {
    const std::lock_guard lock(mutex_);
    if (sessions_.size() >= max_sessions_) {
      throw too_busy(
          fmt::format("The server keeps as many sessions as it may, {} (sessions.max_sessions); delete "
                      "one, or try again later.",
                      max_sessions_));
    }
    if (const auto most = settings_.max_sessions_per_key; most && kept_by(facts.owner) >= *most) {
      throw too_busy(fmt::format(
          "Your key keeps as many sessions as it may, {} (sessions.max_sessions_per_key); delete one, or try "
          "again later.",
          *most));
    }
    facts.number = next_number_++;
    session = std::make_shared<ClientSession>(std::move(facts), std::move(contents), now);
    sessions_.emplace(session->facts().id, session);
  }
  wake_at(session->expires(now));
  record_new(*session, from);
  return session;
}

std::int64_t SessionRegistry::kept_by(const std::string& owner) const {
  return std::ranges::count_if(sessions_,
                               [&](const auto& entry) { return entry.second->facts().owner == owner; });
}

std::shared_ptr<ClientSession> SessionRegistry::find(const std::string& id, const Request& request) {
  const auto now = this->now();
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(id);
  const bool is_there = found != sessions_.end() && found->second->expires(now) > now;
  if (!is_there || found->second->facts().owner != owner_of(request)) throw no_such_session(id);
  return found->second;
}

std::shared_ptr<SessionTurn> SessionRegistry::begin_turn(const std::string& id, const Request& request,
                                                         std::optional<std::int64_t> expected_seen) {
  const auto session = find(id, request);
  if (!session->begin_turn()) {
    throw with_seen({409, "conflict_error", "session_busy",
                     "The session is in a turn; wait for its end, or close its connection.", "session"},
                    session->view().usage.seen_tokens);
  }
  auto turn = std::make_shared<SessionTurn>(shared_from_this(), session);
  if (!session->in_memory()) load(*session);
  const std::int64_t seen = turn->contents().tokens();
  if (expected_seen.value_or(seen) != seen) {
    const std::string message =
        fmt::format("The session has seen {} tokens, not {} (expected_seen).", seen, *expected_seen);
    throw with_seen(conflict("stale_session", message, "session"), seen);
  }
  return turn;
}

std::vector<std::shared_ptr<ClientSession>> SessionRegistry::list(const Request& request) {
  expire();
  const std::string owner = owner_of(request);
  std::vector<std::shared_ptr<ClientSession>> found;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, session] : sessions_) {
      if (session->facts().owner == owner) found.push_back(session);
    }
  }
  std::ranges::sort(found, {}, [](const auto& session) { return session->facts().number; });
  return found;
}

void SessionRegistry::remove(ClientSession& session) {
  {
    const std::lock_guard lock(mutex_);
    if (sessions_.erase(session.facts().id) == 0) return;
  }
  close(session.leave_engine());
  record_end(session);
}

// The timer may be late; whoever asks is told as if it were not.
void SessionRegistry::expire() {
  const auto now = this->now();
  auto next = Executor::TimePoint::max();
  std::vector<std::shared_ptr<ClientSession>> expired;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(sessions_, [&](const auto& entry) {
      const auto expires = entry.second->expires(now);
      if (expires > now) {
        next = std::min(next, expires);
        return false;
      }
      expired.push_back(entry.second);
      return true;
    });
  }
  for (const auto& session : expired) {
    close(session->leave_engine());
    record_end(*session);
  }
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

// Commands are sent by the I/O thread, so this one comes after those that opened it.
void SessionRegistry::close(SessionId id) {
  const auto executor = executor_.lock();
  if (!executor || id == kNoSession) return;
  executor->post([&engine = engine_, id] {
    engine.ask(CloseSession{.request = 0, .session = id}, [](const Event&) {});
  });
}

// ---- The engine

void SessionRegistry::enter_engine(const std::shared_ptr<ClientSession>& session, std::int64_t length,
                                   Done done) {
  const SessionContents& contents = session->contents();
  const CacheWindow& window = session->facts().window;
  const auto begin = contents.past_begin(length, window, shape());
  const auto refuse = [&](RefusalReason reason) {
    const Refused refused = refused_for(reason);
    done(&refused);
  };
  if (!begin) return refuse(RefusalReason::out_of_reach);
  const SessionId id = name_in_engine(*session);
  if (id == kNoSession) return refuse(RefusalReason::unknown_session);
  OpenSession command{.request = 0, .session = id, .window = window, .past = contents.past(length, *begin)};
  if (engine_.limits().has_snapshots) {
    command.snapshot = SnapshotName{.session = session->facts().number,
                                    .lineage = contents.lineage_before.value_or(contents.lineage)};
  }
  engine_.ask(std::move(command),
              [self = shared_from_this(), session, length, done = std::move(done)](const Event& event) {
                const auto* const refused = std::get_if<Refused>(&event);
                if (!refused) return done(nullptr);
                session->leave_engine();
                const bool is_full = refused->reason == RefusalReason::queue_full;
                if (is_full && self->make_room_in_engine()) return self->enter_engine(session, length, done);
                done(refused);
              });
}

// At once with looking whether it is still there, so that whoever ends it meanwhile closes it in the engine.
SessionId SessionRegistry::name_in_engine(ClientSession& session) {
  const std::lock_guard lock(mutex_);
  if (!sessions_.contains(session.facts().id)) return kNoSession;
  session.enter_engine(next_engine_id_);
  return next_engine_id_++;
}

void SessionRegistry::leave_engine(ClientSession& session) {
  close(session.leave_engine());
}

// The least recently used leaves that rests and can come back.
bool SessionRegistry::make_room_in_engine() {
  std::vector<std::shared_ptr<ClientSession>> there;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, session] : sessions_) {
      if (session->engine_id() != kNoSession) there.push_back(session);
    }
  }
  std::ranges::sort(there, {}, [](const auto& session) { return session->last_used(); });
  return std::ranges::any_of(there, [this](const auto& session) { return leave_engine_if_idle(*session); });
}

// False: it does not rest, or could not come back.
bool SessionRegistry::leave_engine_if_idle(ClientSession& session) {
  const SessionId id = session.leave_engine_if_idle(shape());
  if (id == kNoSession) return false;
  engine_.ask(CloseSession{.request = 0, .session = id}, [](const Event&) {});
  if (journal_) session.leave_memory_if_idle();
  return true;
}

void SessionRegistry::give_up_slot(SessionId wanted) {
  std::shared_ptr<ClientSession> holder;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, session] : sessions_) {
      if (session->engine_id() == wanted) holder = session;
    }
  }
  if (holder) leave_engine_if_idle(*holder);
}

std::size_t SessionRegistry::stored() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(std::ranges::count_if(
      sessions_, [](const auto& entry) { return entry.second->engine_id() == kNoSession; }));
}

std::size_t SessionRegistry::size() const {
  const std::lock_guard lock(mutex_);
  return sessions_.size();
}

}  // namespace sinkstream
