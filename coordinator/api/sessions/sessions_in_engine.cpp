#include "coordinator/api/sessions/sessions_in_engine.h"

#include <algorithm>
#include <utility>

#include "coordinator/api/generation/engine_errors.h"

namespace sinkstream {

void SessionsInEngine::enter(const std::shared_ptr<ClientSession>& session, std::int64_t length, Done done) {
  const SessionContents& contents = session->contents();
  const CacheWindow& window = session->facts().window;
  const auto begin = contents.past_begin(length, window, engine_.limits().session);
  const auto refuse = [&](RefusalReason reason) {
    const Refused refused = refused_for(reason);
    done(&refused);
  };
  if (!begin) return refuse(RefusalReason::out_of_reach);
  const SessionId id = name(*session);
  if (id == kNoSession) return refuse(RefusalReason::unknown_session);
  OpenSession command{.request = 0, .session = id, .window = window, .past = contents.past(length, *begin)};
  for (const SavedState& state : contents.saved) {
    command.snapshots.push_back({.session = session->facts().number, .save = state.save});
  }
  engine_.ask(std::move(command),
              [self = shared_from_this(), session, length, done = std::move(done)](const Event& event) {
                const auto* const refused = std::get_if<Refused>(&event);
                if (!refused) return done(nullptr);
                session->leave_engine();
                const bool is_full = refused->reason == RefusalReason::queue_full;
                if (is_full && self->make_room()) return self->enter(session, length, done);
                done(refused);
              });
}

// At once with looking whether it is still there, so that whoever ends it meanwhile closes it in the engine.
SessionId SessionsInEngine::name(ClientSession& session) {
  SessionId id = kNoSession;
  kept_->if_kept(session, [&] { session.enter_engine(id = next_id_++); });
  return id;
}

// Commands are sent by the I/O thread, so this one comes after those that opened it.
void SessionsInEngine::leave(ClientSession& session) {
  const SessionId id = session.leave_engine();
  const auto executor = executor_.lock();
  if (!executor || id == kNoSession) return;
  executor->post([&engine = engine_, id] {
    engine.ask(CloseSession{.request = 0, .session = id}, [](const Event&) {});
  });
}

// The least recently used leaves that rests and can come back.
bool SessionsInEngine::make_room() {
  auto there = kept_->all();
  std::erase_if(there, [](const auto& session) { return session->engine_id() == kNoSession; });
  std::ranges::sort(there, {}, [](const auto& session) { return session->last_used(); });
  return std::ranges::any_of(there, [this](const auto& session) { return leave_if_idle(*session); });
}

void SessionsInEngine::give_up_slot(SessionId wanted) {
  const auto all = kept_->all();
  const auto holder =
      std::ranges::find(all, wanted, [](const auto& session) { return session->engine_id(); });
  if (holder != all.end()) leave_if_idle(**holder);
}

// False: it does not rest, or could not come back.
bool SessionsInEngine::leave_if_idle(ClientSession& session) {
  const SessionId id = session.leave_engine_if_idle(engine_.limits().session);
  if (id == kNoSession) return false;
  engine_.ask(CloseSession{.request = 0, .session = id}, [](const Event&) {});
  if (on_disk_) session.leave_memory_if_idle();
  return true;
}

std::size_t SessionsInEngine::num_elsewhere() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      kept_->all(), [](const auto& session) { return session->engine_id() == kNoSession; }));
}

}  // namespace sinkstream
