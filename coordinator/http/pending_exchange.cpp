#include "coordinator/http/pending_exchange.h"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <utility>

namespace sinkstream {

PendingExchange::PendingExchange(std::weak_ptr<boost::asio::io_context> io, Request request,
                                 const ResponseFraming& framing, std::size_t max_unsent_bytes,
                                 std::function<void()> wake)
    : io_(std::move(io)),
      request_(std::move(request)),
      max_unsent_bytes_(max_unsent_bytes),
      framing_(framing),
      wake_(std::move(wake)) {}

std::shared_ptr<Exchange> PendingExchange::handle() {
  return {this, [self = shared_from_this()](Exchange*) { self->let_go(); }};
}

// Behind everything that endpoints have already asked for, from whatever thread.
void PendingExchange::let_go() {
  if (const auto io = io_.lock()) {
    boost::asio::post(*io, [self = shared_from_this()] { self->fail(internal_error()); });
  }
}

// The server may have ended meanwhile; then nobody is left to tell.
void PendingExchange::run_on_io(std::function<void(PendingExchange&)> action) {
  if (const auto io = io_.lock()) {
    boost::asio::dispatch(*io, [self = shared_from_this(), action = std::move(action)] { action(*self); });
  }
}

void PendingExchange::add_header(Header header) {
  run_on_io([header = std::move(header)](PendingExchange& self) { self.framing_.headers.push_back(header); });
}

void PendingExchange::respond(Response response) {
  run_on_io([response = std::move(response)](PendingExchange& self) {
    if (self.state_ != State::waiting) return;
    self.status_ = response.status;
    self.add_output(format_response(response, self.request_.id, self.framing_));
    self.end(State::complete);
  });
}

void PendingExchange::start_stream() {
  run_on_io([](PendingExchange& self) {
    if (self.state_ != State::waiting) return;
    self.status_ = 200;
    self.state_ = State::streaming;
    self.framing_.keep_alive = self.framing_.keep_alive && !self.framing_.http_1_0;
    self.add_output(format_stream_head(self.request_.id, self.framing_));
  });
}

void PendingExchange::send(std::string_view events) {
  run_on_io([bytes = std::string(events)](PendingExchange& self) {
    if (self.state_ == State::streaming) self.add_output(format_stream_bytes(bytes, self.framing_));
  });
}

void PendingExchange::finish_stream() {
  run_on_io([](PendingExchange& self) {
    if (self.state_ != State::streaming) return;
    self.add_output(format_stream_end(self.framing_));
    self.end(State::complete);
  });
}

void PendingExchange::fail(const RequestError& error) {
  run_on_io([error](PendingExchange& self) {
    if (self.state_ == State::waiting) {
      self.respond(error_response(error));
    } else if (self.state_ == State::streaming) {
      self.add_output(format_stream_bytes("data: " + error_body(error) + "\n\n", self.framing_));
      self.end(State::broken);
    }
  });
}

void PendingExchange::on_abandoned(std::function<void(AbandonCause)> callback) {
  run_on_io([callback = std::move(callback)](PendingExchange& self) {
    if (self.abandoned_) {
      callback(*self.abandoned_);
    } else if (!self.ended()) {
      self.abandoned_callback_ = callback;
    }
  });
}

void PendingExchange::note_tokens(const TokenCounts& tokens) {
  run_on_io([tokens](PendingExchange& self) { self.tokens_ = tokens; });
}

void PendingExchange::on_room(std::function<void()> callback) {
  run_on_io([callback = std::move(callback)](PendingExchange& self) {
    if (!self.ended()) self.room_callback_ = callback;
  });
}

void PendingExchange::wrote(std::size_t bytes) {
  const bool was_backlogged = backlogged();
  unsent_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  bytes_written_ += bytes;
  if (!was_backlogged || backlogged() || !room_callback_) return;
  const auto callback = room_callback_;  // it may end the answer
  callback();
}

void PendingExchange::ping() {
  send(": ping\n\n");
}

void PendingExchange::close_after() {
  framing_.keep_alive = false;
}

void PendingExchange::abandon(AbandonCause cause) {
  if (ended()) return;
  const auto callback = std::exchange(abandoned_callback_, nullptr);
  abandoned_ = cause;
  output_.clear();
  end(State::broken);
  if (callback) callback(cause);
}

void PendingExchange::give_up(const RequestError& error) {
  if (ended()) return;
  const auto callback = std::exchange(abandoned_callback_, nullptr);
  abandoned_ = AbandonCause::server_ended;
  fail(error);
  if (callback) callback(AbandonCause::server_ended);
}

void PendingExchange::add_output(std::string bytes) {
  unsent_bytes_.fetch_add(bytes.size(), std::memory_order_relaxed);
  output_ += bytes;
  wake_();
}

void PendingExchange::end(State state) {
  state_ = state;
  over_ = true;
  abandoned_callback_ = nullptr;
  room_callback_ = nullptr;
  wake_();
}

}  // namespace sinkstream
