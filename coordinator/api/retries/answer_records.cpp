#include "coordinator/api/retries/answer_records.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <limits>
#include <utility>

#include "coordinator/api/journal/journal.h"
#include "coordinator/api/retries/recording_exchange.h"
#include "coordinator/http/message/incoming_request.h"

namespace sinkstream {
namespace {

// About what these take beside their texts: what a request is known by, and its answer.
constexpr std::int64_t kKeyOverhead = 512;
constexpr std::int64_t kAnswerOverhead = 1024;
// Where less may be kept, no answers are, and what requests are known by has this.
constexpr std::int64_t kLeastForKeys = 1 << 20;
// A longer answer would leave too little room for others.
constexpr std::int64_t kLargestShare = 4;

constexpr const char* kKeyHeader = "Idempotency-Key";
constexpr const char* kEndedEarly =
    "This turn was ended before its answer was whole: it failed, or its client had left, and no retry came "
    "within "
    "sessions.retry_seconds, or another request went on with the session. What had been told stays in the "
    "session. Roll it back and send the turn anew, with a new Idempotency-Key, or go on from there.";
constexpr const char* kNotKept =
    "This request was done or is under way, and its answer is not kept (sessions.replay_bytes). GET the "
    "session to see what it has.";
constexpr const char* kRestarted =
    "The server has started anew since this request, or while it was done; its answer is not kept. GET the "
    "session "
    "to see what it has.";

constexpr const char* kTooManyKeys =
    "The server knows as many Idempotency-Keys as it may (sessions.replay_bytes). Nothing was done. Send it "
    "again later.";

// When the key of a request expires that has not ended.
constexpr std::int64_t kUnderWay = std::numeric_limits<std::int64_t>::max();

std::chrono::steady_clock::duration seconds(double value) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(
      std::chrono::duration<double>(value));
}

RequestError reused_key() {
  return {422, "invalid_request_error", "idempotency_key_reused",
          "This Idempotency-Key came with another request before. Use a new key for each request, and the "
          "same one only to send the same request again.",
          kKeyHeader};
}

std::int64_t key_bytes(const Asked& asked) {
  return kKeyOverhead + static_cast<std::int64_t>(asked.owner.size() + asked.key.size() +
                                                  asked.fingerprint.size() + asked.session.size());
}

RequestError gone(const char* why) {
  return conflict(why == kEndedEarly ? "turn_ended_early" : "answer_not_kept", why, "session");
}

}  // namespace

AnswerRecords::AnswerRecords(std::weak_ptr<Executor> executor, const RecordSettings& settings,
                             Journal* journal)
    : executor_(std::move(executor)), settings_(settings), journal_(journal) {}

// Their answers ended with the process that gave them. What was under way then ended with it: its time begins
// now, whatever starts come after this one.
void AnswerRecords::take_up() {
  const auto executor = executor_.lock();
  if (!journal_ || !executor) return;
  const std::int64_t unix_now = std::time(nullptr);
  const std::int64_t latest = expiry_from(unix_now);
  for (const auto& stored : journal_->read([&](SessionStore& store) { return store.keys(unix_now); })) {
    const Place place = ended_.insert(
        ended_.end(),
        Record{.asked = {.owner = stored.owner, .fingerprint = stored.what, .key = stored.key}});
    place->list = &ended_;
    place->why_gone = kRestarted;
    if (stored.expires_at > latest) write_key(place->asked, latest);
    place->expires = executor->now() + std::chrono::seconds(std::min(stored.expires_at, latest) - unix_now);
    by_key_.emplace(Name{place->asked.owner, place->asked.key}, place);
    key_bytes_ += key_bytes(place->asked);
    measure(place);
  }
  ended_.sort([](const Record& a, const Record& b) { return a.expires < b.expires; });
  arm();
}

// Whole seconds are kept.
std::int64_t AnswerRecords::expiry_from(std::int64_t unix_time) const {
  return unix_time + static_cast<std::int64_t>(std::ceil(settings_.replay_seconds));
}

// Before anything that the request does: whatever of that is written, so is its key.
void AnswerRecords::write_key(const Asked& asked, std::int64_t expires_at) {
  if (!journal_ || asked.key.empty()) return;
  journal_->write(
      {},
      [asked = Asked{.owner = asked.owner, .fingerprint = asked.fingerprint, .key = asked.key}, expires_at](
          SessionStore& store) { store.put_key(asked.owner, asked.key, asked.fingerprint, expires_at); });
}

void AnswerRecords::remove_key(const Asked& asked) {
  if (!journal_ || asked.key.empty()) return;
  journal_->write(
      {}, [owner = asked.owner, key = asked.key](SessionStore& store) { store.remove_key(owner, key); });
}

// ---- requests

void AnswerRecords::answer(const Asked& asked, const std::shared_ptr<Exchange>& exchange, Handler handler) {
  expire();
  try {
    const Place found = find(asked);
    if (found != running_.end() && !found->answer->is_given_up()) {
      ++num_replays_;
      return found->answer->attach(exchange, /*is_retry=*/true);
    }
    if (found != running_.end()) return answer_after(*found->answer, asked, exchange, std::move(handler));
  } catch (const RequestError& error) {
    return exchange->fail(error);
  }
  if (RecordedAnswer* const unread = find_unread(asked)) {
    answer_after(*unread, asked, exchange, std::move(handler));
    return unread->give_up(AbandonCause::client_left);
  }
  run(asked, exchange, std::move(handler));
}

void AnswerRecords::answer_after(RecordedAnswer& ending, const Asked& asked,
                                 const std::shared_ptr<Exchange>& exchange, Handler handler) {
  ending.when_ended([self = shared_from_this(), asked, exchange, handler = std::move(handler)] {
    self->answer(asked, exchange, handler);
  });
}

AnswerRecords::Place AnswerRecords::find(const Asked& asked) {
  if (!asked.key.empty()) {
    const auto found = by_key_.find(Name{asked.owner, asked.key});
    if (found != by_key_.end()) {
      const Place place = found->second;
      if (place->asked.fingerprint != asked.fingerprint) throw reused_key();
      if (!place->answer) throw gone(place->why_gone);
      if (!place->answer->is_recorded()) throw gone(kNotKept);
      return place;
    }
  }
  return asked.is_turn() ? find_turn(asked) : running_.end();
}

// A turn that says how many tokens it expects is one turn, however often it comes. One that does not is known
// for a retry when its client says that it is one, and the answer still waits for somebody.
AnswerRecords::Place AnswerRecords::find_turn(const Asked& asked) {
  const auto found = by_turn_.find(Name{asked.owner, asked.fingerprint});
  if (found == by_turn_.end()) return running_.end();
  const bool says_so = asked.retry_count.value_or(0) > 0;
  const RecordedAnswer* const answer = found->second->answer.get();
  if (!answer && says_so) throw gone(found->second->why_gone);
  if (!answer || !answer->is_recorded()) return running_.end();
  const bool waits = answer->state() == RecordedAnswer::State::running || answer->was_left();
  return asked.expects_seen || (says_so && waits) ? found->second : running_.end();
}

RecordedAnswer* AnswerRecords::find_unread(const Asked& asked) {
  if (asked.session.empty()) return nullptr;
  const auto found = std::ranges::find_if(running_, [&](const Record& record) {
    return record.asked.session == asked.session && record.asked.owner == asked.owner &&
           record.answer->is_unread();
  });
  return found == running_.end() ? nullptr : found->answer.get();
}

void AnswerRecords::run(const Asked& asked, const std::shared_ptr<Exchange>& exchange, Handler handler) {
  const auto executor = executor_.lock();
  if (!executor) return;
  std::shared_ptr<Exchange> answered = exchange;
  const auto same = by_turn_.find(Name{asked.owner, asked.fingerprint});
  const bool is_under_way = same != by_turn_.end() && same->second->list == &running_;
  const bool can_be_known = !asked.key.empty() || (asked.is_turn() && !is_under_way);
  const bool is_kept = can_be_known && has_room_for(asked);
  if (!is_kept && !asked.key.empty()) return exchange->fail(no_room());
  if (is_kept) {
    const Place place = add(asked);
    place->answer->attach(exchange, /*is_retry=*/false);
    Request head = exchange->request();
    answered = std::make_shared<RecordingExchange>(std::move(head), place->answer, executor);
  }
  auto task = [answered, handler = std::move(handler)] { run_handler(handler, answered); };
  if (asked.body_bytes > kLargeBodyBytes) return executor->offload_long(std::move(task));
  executor->offload(std::move(task));
}

AnswerRecords::Place AnswerRecords::add(const Asked& asked) {
  const Place place = running_.insert(running_.end(), Record{.asked = asked});
  place->list = &running_;
  place->answer = std::make_shared<RecordedAnswer>();
  place->answer->listen([weak = weak_from_this(), place](RecordedAnswer::Change change) {
    if (const auto self = weak.lock()) self->take(place, change);
  });
  const Asked& kept = place->asked;
  if (!kept.key.empty()) by_key_.emplace(Name{kept.owner, kept.key}, place);
  key_bytes_ += key_bytes(kept);
  write_key(kept, kUnderWay);
  if (kept.is_turn()) {
    const Name name{kept.owner, kept.fingerprint};
    const auto older = by_turn_.find(name);
    if (older != by_turn_.end() && older->second->list != &running_) unname_turn(older->second);
    by_turn_.emplace(name, place);
  }
  measure(place);
  shrink();
  return place;
}

void AnswerRecords::forget_turns(const std::string& session) {
  for (Records* records : {&running_, &ended_}) {
    for (auto place = records->begin(); place != records->end();) {
      const Place next = std::next(place);
      const bool is_over = records != &running_ || place->answer->is_under_way();
      if (is_over && place->asked.session == session) unname_turn(place);
      place = next;
    }
  }
}

// ---- what becomes of them

void AnswerRecords::take(Place place, RecordedAnswer::Change change) {
  switch (change) {
    case RecordedAnswer::Change::grown:
      measure(place);
      return shrink();
    case RecordedAnswer::Change::unread:
      return wait_for_retry(place);
    case RecordedAnswer::Change::ended:
      return end(place);
  }
}

// The official clients try again by themselves only what has not begun to be answered: whoever leaves a
// stream of theirs wants no more of it.
void AnswerRecords::wait_for_retry(Place place) {
  RecordedAnswer& answer = *place->answer;
  if (place->asked.is_ambiguous() && answer.is_stream()) return answer.give_up(AbandonCause::client_left);
  const auto executor = executor_.lock();
  if (!executor) return;
  const auto give_up = [weak = answer.weak_from_this(), readers = answer.readers_ever()] {
    const auto unread = weak.lock();
    if (!unread || !unread->is_unread() || unread->readers_ever() != readers) return;
    unread->give_up(AbandonCause::client_left);
  };
  executor->post_at(executor->now() + seconds(settings_.retry_seconds), give_up);
}

// What failed before it changed anything is forgotten: a retry tries again.
void AnswerRecords::end(Place place) {
  using State = RecordedAnswer::State;
  const State state = place->answer->state();
  const auto executor = executor_.lock();
  if (!executor) return erase(place);
  if (state == State::failed) return forget(place);
  write_key(place->asked, expiry_from(std::time(nullptr)));
  place->expires = executor->now() + seconds(settings_.replay_seconds);
  add_ended(place);
  if (place->asked.key.empty() && !is_named(place)) {
    erase(place);  // the session was rolled back
  } else if (state == State::ended_early) {
    forget_content(place, kEndedEarly);
  } else if (!place->answer->is_recorded()) {
    forget_content(place, kNotKept);
  }
  shrink();
  arm();
}

// What a turn is known by stays, since it must not be taken in twice: its key; or its words, where somebody
// may still ask and no expected_seen shows that it was done.
void AnswerRecords::forget_content(Place place, const char* why) {
  const bool may_come_again = place->answer->was_left() || place->answer->broke_off();
  const bool is_needed = !place->asked.expects_seen && may_come_again;
  if (place->asked.key.empty() && !is_needed) return erase(place);
  place->answer->listen(nullptr);
  place->answer = nullptr;
  place->why_gone = why;
  if (!place->asked.key.empty()) unname_turn(place);
  measure(place);
}

void AnswerRecords::forget(Place place) {
  remove_key(place->asked);
  erase(place);
}

void AnswerRecords::erase(Place place) {
  if (place->answer) place->answer->listen(nullptr);
  by_key_.erase(Name{place->asked.owner, place->asked.key});
  bytes_ -= place->bytes;
  key_bytes_ -= key_bytes(place->asked);
  if (is_named(place)) by_turn_.erase(Name{place->asked.owner, place->asked.fingerprint});
  if (place == kept_from_) ++kept_from_;
  place->list->erase(place);
}

bool AnswerRecords::is_named(Place place) const {
  const auto named = by_turn_.find(Name{place->asked.owner, place->asked.fingerprint});
  return named != by_turn_.end() && named->second == place;
}

// It is not found by its words any more; without a key, not at all.
void AnswerRecords::unname_turn(Place place) {
  if (!is_named(place)) return;
  by_turn_.erase(Name{place->asked.owner, place->asked.fingerprint});
  if (place->asked.key.empty() && place->list != &running_) erase(place);
}

void AnswerRecords::add_ended(Place place) {
  ended_.splice(ended_.end(), running_, place);
  place->list = &ended_;
  if (kept_from_ == ended_.end()) kept_from_ = place;
}

// ---- bounds

bool AnswerRecords::has_room_for(const Asked& asked) const {
  return key_bytes_ + key_bytes(asked) <= std::max(settings_.max_bytes, kLeastForKeys);
}

RequestError AnswerRecords::no_room() const {
  RequestError error = too_busy(kTooManyKeys);
  error.param = kKeyHeader;
  const auto executor = executor_.lock();
  if (!executor || ended_.empty()) return error;
  const auto wait = std::chrono::ceil<std::chrono::seconds>(ended_.front().expires - executor->now());
  error.headers = {{"Retry-After", std::to_string(wait.count())}};
  return error;
}

void AnswerRecords::measure(Place place) {
  std::int64_t bytes = key_bytes(place->asked);
  if (place->answer) bytes += kAnswerOverhead + static_cast<std::int64_t>(place->answer->bytes());
  bytes_ += bytes - std::exchange(place->bytes, bytes);
  if (place->list == &running_ && bytes > settings_.max_bytes / kLargestShare) stop_recording(place);
}

void AnswerRecords::stop_recording(Place place) {
  if (!place->answer->is_recorded()) return;
  place->answer->stop_recording();
  measure(place);
}

// The oldest answers go first. What a request is known by never goes before its time: it could be done twice.
void AnswerRecords::shrink() {
  while (bytes_ > settings_.max_bytes && kept_from_ != ended_.end()) {
    const Place place = kept_from_++;
    if (place->answer) forget_content(place, kNotKept);
  }
  for (Place place = running_.begin(); place != running_.end() && bytes_ > settings_.max_bytes; ++place) {
    stop_recording(place);
  }
}

void AnswerRecords::expire() {
  const auto executor = executor_.lock();
  if (!executor) return;
  while (!ended_.empty() && ended_.front().expires <= executor->now()) forget(ended_.begin());
}

// One timer, for the first that expires.
void AnswerRecords::arm() {
  const auto executor = executor_.lock();
  if (!executor || ended_.empty() || ended_.front().expires >= armed_for_) return;
  const auto first = ended_.front().expires;
  armed_for_ = first;
  executor->post_at(first, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self) return;
    self->armed_for_ = Executor::TimePoint::max();
    self->expire();
    self->arm();
  });
}

}  // namespace sinkstream
