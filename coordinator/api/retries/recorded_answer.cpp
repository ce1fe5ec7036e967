#include "coordinator/api/retries/recorded_answer.h"

#include <algorithm>
#include <utility>

namespace sinkstream {
namespace {

constexpr const char* kReplayedHeader = "Idempotent-Replayed";
constexpr std::size_t kEventOverhead = sizeof(std::string);

}  // namespace

// ---- readers

void RecordedAnswer::attach(const std::shared_ptr<Exchange>& exchange, bool is_retry) {
  if (is_retry) exchange->add_header({kReplayedHeader, "true"});
  for (const Header& header : headers_) exchange->add_header(header);
  ++readers_ever_;
  readers_.push_back({exchange});
  // The exchange lets go of both when it has ended.
  exchange->on_abandoned(
      [self = shared_from_this(), raw = exchange.get()](AbandonCause cause) { self->leave(raw, cause); });
  exchange->on_room([self = shared_from_this()] {
    self->feed_all(/*all=*/false);
    self->offer_room();
  });
  feed_all(/*all=*/false);
  offer_room();
}

// As far as it keeps up.
void RecordedAnswer::feed(Reader& reader, bool all) {
  Exchange& exchange = *reader.exchange;
  if (response_) return exchange.respond(*response_);
  if (streaming_ && !std::exchange(reader.started, true)) exchange.start_stream();
  const std::size_t end = dropped_events_ + events_.size();
  while (reader.next < end && (all || !exchange.backlogged())) {
    exchange.send(events_[reader.next++ - dropped_events_]);
  }
  if (reader.next < end) return;
  if (error_) return exchange.fail(*error_);
  if (streaming_ && state_ == State::whole) exchange.finish_stream();
}

void RecordedAnswer::feed_all(bool all) {
  const std::size_t end = dropped_events_ + events_.size();
  for (auto reader = readers_.begin(); reader != readers_.end();) {
    const auto next = std::next(reader);
    feed(*reader, all);
    const bool has_all = state_ != State::running && reader->next >= end;
    if (has_all) readers_.erase(reader);
    reader = next;
  }
}

void RecordedAnswer::leave(const Exchange* exchange, AbandonCause cause) {
  std::erase_if(readers_, [&](const Reader& reader) { return reader.exchange.get() == exchange; });
  if (!readers_.empty()) return;
  was_left_ = true;
  if (cause == AbandonCause::server_ended || !records_) return give_up(cause);
  if (state_ == State::running) tell(Change::unread);
}

void RecordedAnswer::give_up(AbandonCause cause) {
  if (state_ != State::running || given_up_) return;
  given_up_ = cause;
  if (const auto callback = std::exchange(abandoned_callback_, nullptr)) callback(cause);
}

void RecordedAnswer::when_ended(std::function<void()> task) {
  if (state_ != State::running) return task();
  when_ended_.push_back(std::move(task));
}

void RecordedAnswer::stop_recording() {
  feed_all(/*all=*/true);
  records_ = false;
  dropped_events_ += events_.size();
  events_.clear();
  bytes_ = 0;
  if (is_unread() && readers_ever_ > 0) give_up(AbandonCause::client_left);
}

bool RecordedAnswer::is_held_back() const {
  return state_ == State::running &&
         std::ranges::all_of(readers_, [](const Reader& reader) { return reader.exchange->backlogged(); });
}

void RecordedAnswer::offer_room() {
  if (state_ != State::running || is_held_back() || !room_callback_) return;
  const auto callback = room_callback_;  // it may end the answer
  callback();
}

// ---- the endpoint

void RecordedAnswer::add_header(Header header) {
  for (Reader& reader : readers_) reader.exchange->add_header(header);
  headers_.push_back(std::move(header));
}

void RecordedAnswer::respond(Response response) {
  if (state_ != State::running) return;
  constexpr int kOk = 200;
  const bool is_success = response.status == kOk;
  response_ = std::move(response);
  grow(response_->body.size());
  end(is_success ? State::whole : State::failed);
}

void RecordedAnswer::start_stream() {
  streaming_ = true;
  feed_all(/*all=*/false);
}

void RecordedAnswer::send(std::string events) {
  if (state_ != State::running) return;
  const std::size_t bytes = events.size() + kEventOverhead;
  events_.push_back(std::move(events));
  feed_all(/*all=*/!records_);
  if (records_) return grow(bytes);
  ++dropped_events_;
  events_.clear();
}

void RecordedAnswer::finish_stream() {
  if (state_ == State::running) end(State::whole);
}

void RecordedAnswer::fail(const RequestError& error) {
  if (state_ != State::running) return;
  error_ = error;
  broke_off_ = error.leaves_changes;
  end(broke_off_ ? State::ended_early : State::failed);
}

void RecordedAnswer::note_tokens(const TokenCounts& tokens) {
  for (Reader& reader : readers_) reader.exchange->note_tokens(tokens);
}

void RecordedAnswer::on_abandoned(std::function<void(AbandonCause)> callback) {
  under_way_ = true;
  if (state_ != State::running) return;
  if (given_up_) return callback(*given_up_);
  abandoned_callback_ = std::move(callback);
}

void RecordedAnswer::let_go() {
  if (state_ != State::running) return;
  error_ = internal_error();
  end(given_up_ ? State::ended_early : State::failed);
}

void RecordedAnswer::tell(Change change) {
  if (const auto listener = listener_) listener(change);
}

void RecordedAnswer::grow(std::size_t bytes) {
  bytes_ += bytes;
  tell(Change::grown);
}

void RecordedAnswer::end(State state) {
  state_ = state;
  abandoned_callback_ = nullptr;
  room_callback_ = nullptr;
  feed_all(/*all=*/false);
  tell(Change::ended);
  for (const auto& task : std::exchange(when_ended_, {})) task();
}

}  // namespace sinkstream
