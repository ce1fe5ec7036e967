#include "coordinator/api/sessions/session_snapshots.h"

#include <algorithm>
#include <utility>

namespace sinkstream {

SessionSnapshots::SessionSnapshots(EngineClient& engine, std::weak_ptr<Executor> executor,
                                   const SessionSettings& settings, bool on_disk)
    : engine_(engine),
      executor_(std::move(executor)),
      most_taken_in_anew_(settings.snapshot_tokens),
      keeps_any_(on_disk && engine.limits().has_snapshots) {}

void SessionSnapshots::save_if_due(const std::shared_ptr<ClientSession>& session) {
  const SessionId id = session->engine_id();
  if (!keeps_any_ || id == kNoSession || session->is_broken()) return;
  const SessionContents& contents = session->contents();
  const std::int64_t taken_in = contents.tokens() - contents.pending;
  const std::int64_t saved = session->take_save_failure() ? 0 : contents.saved_tokens;
  const CacheWindow& window = session->facts().window;
  const auto begin = contents.past_begin(taken_in, window, engine_.limits().session);
  const std::int64_t left_out = begin ? std::max<std::int64_t>(0, *begin - window.sink_tokens) : 0;
  if (taken_in - std::max(saved, left_out) < most_taken_in_anew_) return;
  session->update([&](SessionContents& changed) { changed.saved_tokens = taken_in; });
  SaveSession command{.request = 0,
                      .session = id,
                      .tokens = contents.tokens(),
                      .name = {.session = session->facts().number, .lineage = contents.lineage}};
  engine_.ask(std::move(command), [session](const Event& event) {
    if (std::holds_alternative<Refused>(event)) session->note_save_failure();
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
