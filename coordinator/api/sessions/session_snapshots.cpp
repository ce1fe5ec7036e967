#include "coordinator/api/sessions/session_snapshots.h"

#include <algorithm>
#include <random>
#include <utility>

namespace sinkstream {
namespace {

std::uint64_t new_save() {
  std::random_device random;
  return (std::uint64_t{random()} << 32) | random();
}

}  // namespace

bool is_snapshot_due(std::int64_t tokens, const SessionSettings& settings, const EngineStats& stats) {
  constexpr double kLeastSpared = 50;  // times what saving takes
  if (tokens >= settings.snapshot_tokens) return true;
  if (settings.snapshot_seconds == 0 || !stats.seconds_per_prompt_token) return false;
  const double spared = *stats.seconds_per_prompt_token * static_cast<double>(tokens);
  const double save = stats.snapshots_saved == 0
                          ? 0
                          : stats.snapshot_save_seconds / static_cast<double>(stats.snapshots_saved);
  return spared >= std::max(settings.snapshot_seconds, kLeastSpared * save);
}

SessionSnapshots::SessionSnapshots(EngineClient& engine, std::weak_ptr<Executor> executor,
                                   const SessionSettings& settings, bool on_disk)
    : engine_(engine),
      executor_(std::move(executor)),
      settings_(settings),
      keeps_any_(on_disk && engine.limits().has_snapshots) {}

void SessionSnapshots::note_replay(ClientSession& session, std::int64_t replayed_tokens) const {
  if (replayed_tokens < settings_.snapshot_tokens) return;
  session.update([](SessionContents& contents) { contents.saved.clear(); });
}

void SessionSnapshots::save_if_due(const std::shared_ptr<ClientSession>& session) const {
  const SessionId id = session->engine_id();
  if (!keeps_any_ || id == kNoSession || session->is_broken()) return;
  note_failure(*session);
  const SessionContents& contents = session->contents();
  const std::int64_t taken_in = contents.tokens() - contents.pending;
  const std::int64_t saved = contents.saved.empty() ? 0 : contents.saved.front().tokens;
  const CacheWindow& window = session->facts().window;
  const auto begin = contents.past_begin(taken_in, window, engine_.limits().session);
  const std::int64_t left_out = begin ? std::max<std::int64_t>(0, *begin - window.sink_tokens) : 0;
  if (!is_snapshot_due(taken_in - std::max(saved, left_out), settings_, engine_.stats())) return;
  const std::uint64_t save = new_save();
  session->update([&](SessionContents& changed) {
    changed.saved.insert(changed.saved.begin(), {save, taken_in});
    changed.saved.resize(std::min<std::size_t>(changed.saved.size(), 2));
  });
  SaveSession command{.request = 0,
                      .session = id,
                      .tokens = contents.tokens(),
                      .name = {.session = session->facts().number, .save = save}};
  engine_.ask(std::move(command), [session](const Event& event) {
    const auto* const refused = std::get_if<Refused>(&event);
    if (!refused) return;
    session->note_save_failure(refused->reason == RefusalReason::failed
                                   ? ClientSession::SaveFailure::failed
                                   : ClientSession::SaveFailure::refused);
  });
}

// One that was refused left the one before as it was, and is tried again. After one that failed there is
// none, and it is tried again when as many tokens have come once more: what failed may fail again, and costs
// the disk.
void SessionSnapshots::note_failure(ClientSession& session) {
  const auto failure = session.take_save_failure();
  if (failure == ClientSession::SaveFailure::none) return;
  session.update([&](SessionContents& contents) {
    if (contents.saved.empty()) return;
    if (failure == ClientSession::SaveFailure::refused) {
      contents.saved.erase(contents.saved.begin());
    } else {
      contents.saved = {{.save = new_save(), .tokens = contents.saved.front().tokens}};  // which nobody has
    }
  });
}

void SessionSnapshots::drop(const ClientSession& session) const {
  const auto executor = executor_.lock();
  if (!executor || !keeps_any_) return;
  executor->post([&engine = engine_, number = session.facts().number] {
    engine.send(DropSnapshot{.request = 0, .session = number});
  });
}

void SessionSnapshots::keep_only(const KeptSessions& kept) const {
  const auto executor = executor_.lock();
  if (!executor || !keeps_any_) return;
  KeepSnapshots command;
  for (const auto& session : kept.all()) command.sessions.push_back(session->facts().number);
  executor->post([&engine = engine_, command = std::move(command)] { engine.send(command); });
}

}  // namespace sinkstream
