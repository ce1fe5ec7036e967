#include "coordinator/api/sessions/sessions_on_disk.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <exception>
#include <optional>
#include <stdexcept>

#include "coordinator/api/journal/journal.h"
#include "coordinator/api/journal/journalled_exchange.h"
#include "coordinator/api/sessions/session_errors.h"
#include "coordinator/api/sessions/session_head.h"
#include "coordinator/http/message/request_error.h"

namespace sinkstream {
namespace {

Executor::TimePoint::duration seconds(std::int64_t value) {
  return std::chrono::seconds(value);
}

// What is to be written of a session.
struct Changes {
  std::string id;
  std::int64_t begin = 0;  // of `tokens`
  bool replaces = false;   // what stood from there on
  std::vector<TokenId> tokens;
  std::string head;  // empty: it stays
  std::vector<StoredAnswer> answers;
  std::int64_t last_used_at = 0;

  void operator()(SessionStore& store) const {
    if (!head.empty()) store.put(id, head, last_used_at);
    if (replaces) store.truncate(id, begin);
    if (!answers.empty()) store.put_answers(id, answers);
    if (!tokens.empty()) store.append(id, begin, tokens);
  }
};

Changes take_changes(ClientSession& session, bool with_head) {
  Changes changes{.id = session.facts().id, .tokens = {}, .head = {}, .answers = {}};
  session.update([&](SessionContents& contents) {
    changes.begin = contents.recorded.value_or(0);
    contents.recorded = contents.tokens();
    changes.replaces = std::exchange(contents.replaced, false);
    changes.tokens = contents.transcript.read(changes.begin, contents.tokens());
    for (std::size_t& next = contents.recorded_marks; with_head && next < contents.marks_without_messages;) {
      const ChatMark& mark = contents.marks[next++];
      changes.answers.push_back({mark.from, mark.to});
    }
  });
  if (!with_head) return changes;
  changes.last_used_at = std::time(nullptr);
  changes.head = head_text(session.facts(), session.contents(), changes.last_used_at);
  return changes;
}

}  // namespace

SessionsOnDisk::SessionsOnDisk(Journal* journal, std::string arithmetic, const SessionSettings& settings,
                               const SessionShape& shape, std::weak_ptr<Executor> executor,
                               std::shared_ptr<KeptSessions> kept,
                               std::shared_ptr<SessionsInEngine> in_engine)
    : journal_(journal),
      arithmetic_(std::move(arithmetic)),
      settings_(settings),
      shape_(shape),
      executor_(std::move(executor)),
      kept_(std::move(kept)),
      in_engine_(std::move(in_engine)) {}

// Of a session's newest tokens, those that its state is made anew from, also after it has gone back.
std::int64_t SessionsOnDisk::needed_tokens() const {
  if (!shape_.endless()) return shape_.max_context;
  return 2 * shape_.ring_capacity + shape_.num_layers * shape_.window.window_tokens;
}

// Where there is a journal, they are always there.
Transcript SessionsOnDisk::new_transcript(std::int64_t begin) const {
  const std::int64_t most =
      journal_ ? std::max(settings_.transcript_tokens, needed_tokens()) : settings_.transcript_tokens;
  return Transcript(most, begin);
}

// ---- To the journal

std::shared_ptr<Exchange> SessionsOnDisk::when_written(const std::shared_ptr<Exchange>& exchange,
                                                       const std::string& session) const {
  if (!journal_) return exchange;
  return std::make_shared<JournalledExchange>(exchange, *journal_, session);
}

std::shared_ptr<Exchange> SessionsOnDisk::when_removed(const std::shared_ptr<Exchange>& exchange,
                                                       const std::string& session) const {
  if (!journal_) return exchange;
  return std::make_shared<JournalledExchange>(exchange, *journal_, session,
                                              JournalledExchange::FailsWith::those_before);
}

// Nothing of one that has been removed may follow its removal: hence if_kept.
void SessionsOnDisk::record_new(ClientSession& session, const ClientSession* from) {
  if (!journal_) return;
  if (from) {
    session.update([](SessionContents& contents) {
      contents.recorded = contents.tokens();
      contents.replaced = false;
      contents.recorded_marks = 0;
    });
  }
  const Changes changes = take_changes(session, /*with_head=*/true);
  const std::string source = from ? from->facts().id : std::string();
  const auto change = [changes, source, tokens = session.tokens()](SessionStore& store) {
    changes(store);
    if (!source.empty()) store.copy(source, changes.id, tokens);
  };
  kept_->if_kept(session, [&] { journal_->write(changes.id, change); });
}

void SessionsOnDisk::record_end(const ClientSession& session, std::function<void()> not_removed) {
  if (!journal_) return;
  const std::string& id = session.facts().id;
  journal_->mend(id);  // it is removed, whatever was the matter with it
  journal_->write(id, [id](SessionStore& store) { store.remove(id); });
  const auto put_back = [weak = weak_from_this(), again = session.as_on_disk(),
                         not_removed = std::move(not_removed)](const std::string&) {
    const auto self = weak.lock();
    if (!self) return;
    const std::string& its_id = again->facts().id;
    self->journal_->mend(its_id);
    self->kept_->with_all([&](KeptSessions::Map& sessions) { sessions.emplace(its_id, again); });
    self->show_what_stands(its_id);
    not_removed();
  };
  journal_->after(
      id, [] {}, put_back);
}

void SessionsOnDisk::record_tokens(ClientSession& session) {
  if (!journal_ || session.is_broken()) return;
  const Changes changes = take_changes(session, /*with_head=*/false);
  kept_->if_kept(session, [&] { journal_->append(changes.id, changes.begin, changes.tokens); });
}

void SessionsOnDisk::record_turn(ClientSession& session, std::int64_t turn_from) {
  if (!journal_ || session.is_broken()) return;
  const std::int64_t kept = std::max(settings_.transcript_tokens, needed_tokens());
  const std::int64_t sinks = session.facts().window.sink_tokens;
  const Changes changes = take_changes(session, /*with_head=*/true);
  const auto change = [changes, turn_from, sinks, first_kept = session.tokens() - kept](SessionStore& store) {
    changes(store);
    store.merge(changes.id, turn_from);
    if (first_kept > sinks) store.prune(changes.id, first_kept, sinks);
  };
  kept_->if_kept(session, [&] { journal_->write(changes.id, change); });
}

// ---- And back

std::uint64_t SessionsOnDisk::take_up(std::int64_t slot_bytes) {
  if (!journal_) return 0;
  journal_->on_failure([weak = weak_from_this()](const std::string& id) {
    if (const auto self = weak.lock()) self->take_failure(id);
  });
  const std::int64_t unix_now = std::time(nullptr);
  const auto now = this->now();
  std::uint64_t last_number = 0;
  std::vector<std::string> ended;
  for (const StoredSession& stored : journal_->read([](SessionStore& store) { return store.list(); })) {
    SessionHead head = head_of(stored);
    const std::int64_t unused = unix_now - std::clamp<std::int64_t>(stored.last_used_at, 0, unix_now);
    if (static_cast<double>(unused) >= head.facts.ttl_seconds) {
      ended.push_back(stored.id);
      continue;
    }
    head.facts.id = stored.id;
    head.facts.slot_bytes = slot_bytes;
    const ClientSession::Summary summary = this->summary(head, stored.tokens);
    last_number = std::max(last_number, head.facts.number);
    const auto session = std::make_shared<ClientSession>(std::move(head.facts), summary, stored.last_used_at,
                                                         now - seconds(unused));
    kept_->with_all([&](KeptSessions::Map& sessions) { sessions.emplace(stored.id, session); });
  }
  for (const std::string& id : ended) {
    journal_->write(id, [id](SessionStore& store) { store.remove(id); });
  }
  const std::size_t count = kept_->size();
  if (count > 0) spdlog::info("took up {} session(s) from {}", count, settings_.directory.string());
  return last_number;
}

// One that can't be read is kept all the same: whoever asks for it is told, and it can end.
SessionHead SessionsOnDisk::head_of(const StoredSession& stored) const {
  try {
    if (!stored.sound) throw std::runtime_error("what describes it is damaged on disk.");
    return read_head(stored.head);
  } catch (const std::exception& error) {
    spdlog::error("session {} can't be read: {}", stored.id, error.what());
    SessionHead head;
    head.facts.ttl_seconds = settings_.ttl_seconds;
    head.facts.damage = error.what();
    return head;
  }
}

ClientSession::Summary SessionsOnDisk::summary(const SessionHead& head, std::int64_t tokens) const {
  return {.tokens = tokens,
          .unsent = tokens == head.tokens ? head.unsent : 0,
          .same_arithmetic = head.contents.same_arithmetic && head.contents.arithmetic == arithmetic_,
          .cut_at = head.contents.cut_at};
}

// Of its tokens, the newest that its state and penalties depend on. What is damaged of them, and what stood
// behind, is lost.
SessionsOnDisk::Stored SessionsOnDisk::read_stored(const ClientSession& session) const {
  const std::string& id = session.facts().id;
  const auto read = [&](SessionStore& store) {
    const std::int64_t end = store.end(id);
    std::int64_t tokens = end;
    SessionHead head = read_head(store.head(id));
    add_older_answers(store.answers(id), head.contents);
    const auto begin = [&] {
      return std::min(tokens - needed_tokens(), head.contents.newest_answers_begin(kMaxRepeatLastN, tokens));
    };
    const StoredTokens sinks = store.tokens(id, 0, std::min(session.facts().window.sink_tokens, tokens));
    if (sinks.damaged_from) throw session_damaged("its first tokens are damaged on disk.");
    StoredTokens recent = store.tokens(id, begin(), tokens);
    while (recent.damaged_from && *recent.damaged_from < tokens) {
      tokens = *recent.damaged_from;
      recent = store.tokens(id, begin(), tokens);
    }
    if (recent.begin + std::ssize(recent.tokens) != tokens)
      throw session_damaged("its newest tokens are not on disk.");
    return Stored{.head = std::move(head),
                  .sinks = sinks.tokens,
                  .begin = recent.begin,
                  .tokens = std::move(recent.tokens),
                  .end = end,
                  .is_cut = tokens < end || recent.damaged_from};
  };
  try {
    return journal_->read(read);
  } catch (const std::logic_error&) {
    throw no_such_session(id);  // deleted meanwhile
  } catch (const RequestError&) {
    throw;
  } catch (const std::exception& failure) {
    throw session_damaged(failure.what());
  }
}

void SessionsOnDisk::load(ClientSession& session) {
  Stored stored = read_stored(session);
  const std::int64_t tokens = stored.begin + std::ssize(stored.tokens);
  SessionContents contents = std::move(stored.head.contents);
  contents.transcript = new_transcript(stored.begin);
  contents.transcript.append(stored.tokens);
  contents.sinks = std::move(stored.sinks);
  contents.reach = shape_.ring_capacity;
  const std::int64_t unsent = tokens == stored.head.tokens ? stored.head.unsent : 0;
  contents.unsent = contents.transcript.read(tokens - unsent, tokens);
  contents.recorded = stored.end;
  contents.same_arithmetic = contents.same_arithmetic && contents.arithmetic == arithmetic_;
  contents.arithmetic = arithmetic_;
  contents.truncate(tokens);  // an answer that was cut off ends there, too
  if (stored.is_cut) {
    spdlog::error("session {}: its tokens from {} on are damaged on disk; it goes on from there",
                  session.facts().id, tokens);
    contents.cut_at = tokens;
    contents.replaced = true;
  }
  session.put_in_memory(std::move(contents));
  if (stored.is_cut) record_turn(session, tokens);  // who is told of it finds it so after a restart
}

KeptTokens SessionsOnDisk::read(const ClientSession& session, std::int64_t from, std::int64_t to) const {
  StoredTokens stored;
  try {
    stored = journal_->read([&](SessionStore& store) { return store.tokens(session.facts().id, from, to); });
  } catch (const StoreFailure& failure) {
    throw session_damaged(failure.what());
  } catch (const std::logic_error&) {
    throw no_such_session(session.facts().id);  // deleted meanwhile
  }
  if (!stored.damaged_from) return {stored.begin, std::move(stored.tokens)};
  RequestError gone{410, "gone_error", "transcript_damaged",
                    fmt::format("The transcript is damaged on disk from {} on.", *stored.damaged_from),
                    "from"};
  gone.numbers.emplace_back("damaged_from", *stored.damaged_from);
  throw gone;
}

// ---- What could not be written

void SessionsOnDisk::take_failure(const std::string& id) {
  const auto session = kept_->find(id);
  if (!session) return;
  session->set_broken(true);
  if (!session->begin_turn()) return;  // whoever has its turn reverts it
  revert(*session);
  session->end_turn(now());
}

void SessionsOnDisk::revert(ClientSession& session) {
  in_engine_->leave(session);
  const std::string id = session.facts().id;
  session.leave_memory();
  session.set_broken(false);
  journal_->mend(id);
  show_what_stands(id);
}

void SessionsOnDisk::show_what_stands(const std::string& id) {
  journal_->look([weak = weak_from_this(), id](SessionStore& store) {
    const auto self = weak.lock();
    if (!self) return;
    std::optional<ClientSession::Summary> there;
    try {
      there = self->summary(read_head(store.head(id)), store.end(id));
    } catch (const std::logic_error&) {
      there = std::nullopt;
    } catch (const std::exception&) {
      return;  // it is damaged, and says so when it is used
    }
    self->kept_->with_all([&](KeptSessions::Map& sessions) {
      const auto found = sessions.find(id);
      if (found == sessions.end()) return;
      if (there) {
        found->second->set_on_disk(*there);
      } else {
        sessions.erase(found);
      }
    });
  });
}

Executor::TimePoint SessionsOnDisk::now() const {
  const auto executor = executor_.lock();
  return executor ? executor->now() : Executor::TimePoint();
}

}  // namespace sinkstream
