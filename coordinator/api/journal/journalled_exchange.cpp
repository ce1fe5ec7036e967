#include "coordinator/api/journal/journalled_exchange.h"

namespace sinkstream {
namespace {

// A disk that does not keep up holds its readers back.
constexpr std::size_t kMostUnwritten = 262144;

// A turn that was written in part has changed the session.
RequestError not_written(const std::string& why, bool in_part) {
  RequestError error{503, "server_error", "journal_failed",
                     in_part ? "The turn could not be kept from some point on: " + why +
                                   ". GET the session to see how far it came."
                             : "The session's change could not be kept, and is undone: " + why + "."};
  error.leaves_changes = in_part;
  return error;
}

}  // namespace

struct JournalledExchange::State {
  std::shared_ptr<Exchange> exchange;
  Journal* journal = nullptr;  // outlives every exchange
  std::string session;
  std::shared_ptr<void> watch;  // a turn that goes on for long asks for nothing to be written meanwhile
  std::atomic<std::size_t> unwritten_bytes{0};
  // The I/O thread.
  std::function<void(AbandonCause)> abandoned;
  std::function<void()> room;
  bool takes_in = false;  // what is written from now on stays
  bool failed = false;

  void fail(const std::string& why) {
    if (std::exchange(failed, true)) return;
    exchange->fail(not_written(why, takes_in));
    if (const auto callback = std::exchange(abandoned, nullptr)) callback(AbandonCause::server_ended);
  }
};

JournalledExchange::JournalledExchange(std::shared_ptr<Exchange> exchange, Journal& journal,
                                       std::string session, FailsWith fails_with)
    : state_(std::make_shared<State>()) {
  state_->exchange = std::move(exchange);
  state_->journal = &journal;
  state_->session = std::move(session);
  if (fails_with == FailsWith::those_before) return;
  state_->watch = journal.watch(state_->session, [weak = std::weak_ptr(state_)](const std::string& why) {
    if (const auto state = weak.lock()) state->fail(why);
  });
}

// What it let go unanswered is let go when all before it went out.
JournalledExchange::~JournalledExchange() {
  when_written([](Exchange&) {});
}

void JournalledExchange::when_written(std::function<void(Exchange&)> action) const {
  const auto done = [state = state_, action = std::move(action)] {
    if (!state->failed) action(*state->exchange);
  };
  state_->journal->after(state_->session, done,
                         [state = state_](const std::string& why) { state->fail(why); });
}

const Request& JournalledExchange::request() const {
  return state_->exchange->request();
}

std::string JournalledExchange::take_body() {
  return state_->exchange->take_body();
}

void JournalledExchange::add_header(Header header) {
  when_written([header = std::move(header)](Exchange& exchange) { exchange.add_header(header); });
}

void JournalledExchange::respond(Response response) {
  when_written([response = std::move(response)](Exchange& exchange) { exchange.respond(response); });
}

void JournalledExchange::start_stream() {
  when_written([](Exchange& exchange) { exchange.start_stream(); });
}

void JournalledExchange::send(std::string_view events) {
  state_->unwritten_bytes += events.size();
  when_written([state = state_.get(), events = std::string(events)](Exchange& exchange) {
    exchange.send(events);
    const std::size_t before = state->unwritten_bytes.fetch_sub(events.size());
    const bool has_room_again = before > kMostUnwritten && before - events.size() <= kMostUnwritten;
    if (has_room_again && state->room) state->room();
  });
}

void JournalledExchange::finish_stream() {
  when_written([](Exchange& exchange) { exchange.finish_stream(); });
}

void JournalledExchange::fail(const RequestError& error) {
  when_written([error](Exchange& exchange) { exchange.fail(error); });
}

void JournalledExchange::note_tokens(const TokenCounts& tokens) {
  when_written([state = state_.get(), tokens](Exchange& exchange) {
    state->takes_in = true;
    exchange.note_tokens(tokens);
  });
}

// ---- At once: what the client does waits for nothing

void JournalledExchange::on_abandoned(std::function<void(AbandonCause)> callback) {
  state_->abandoned = std::move(callback);
  state_->exchange->on_abandoned([state = std::weak_ptr(state_)](AbandonCause cause) {
    const auto there = state.lock();
    if (!there) return;
    if (const auto told = std::exchange(there->abandoned, nullptr)) told(cause);
  });
}

bool JournalledExchange::backlogged() const {
  return state_->unwritten_bytes > kMostUnwritten || state_->exchange->backlogged();
}

void JournalledExchange::on_room(std::function<void()> callback) {
  state_->room = callback;
  state_->exchange->on_room(std::move(callback));
}

}  // namespace sinkstream
