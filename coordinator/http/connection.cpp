#include "coordinator/http/connection.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <optional>
#include <utility>

#include "coordinator/http/access/access_log.h"
#include "coordinator/http/message/incoming_request.h"

namespace sinkstream {
namespace {

namespace asio = boost::asio;
constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);

constexpr std::size_t kReadBytes = 16384;
// What a client may send after its requests behind one that is being answered were dropped.
constexpr std::size_t kMaxDroppedBytes = 16777216;
// How long a closing connection takes in and drops what the client still sends, so that it gets to read the
// answer.
constexpr std::chrono::seconds kLingerTime{1};

std::chrono::steady_clock::duration seconds(double value) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(
      std::chrono::duration<double>(value));
}

void check_content(const Request& request) {
  if (!request.header("content-encoding").empty() && request.header("content-encoding") != "identity") {
    throw protocol_error(415, "Encoded bodies are not accepted; send plain JSON.");
  }
  std::string_view type = request.header("content-type");
  type = type.substr(0, type.find(';'));
  type = type.substr(0, type.find_last_not_of(' ') + 1);
  if (!equal_ignoring_case(type, "application/json")) {
    throw protocol_error(415, "The Content-Type must be application/json.");
  }
}

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, ConnectionContext& context)
    : socket_(std::move(socket)),
      context_(context),
      input_changed_(socket_.get_executor()),
      input_taken_(socket_.get_executor()),
      output_changed_(socket_.get_executor()),
      stall_timer_(socket_.get_executor()) {
  boost::system::error_code left_already;
  peer_ = socket_.remote_endpoint(left_already).address();
}

asio::awaitable<void> Connection::run() {
  asio::co_spawn(
      socket_.get_executor(), [self = shared_from_this()] { return self->read_input(); }, asio::detached);
  while (co_await serve_request()) {
  }
  co_await linger();
  close();
}

void Connection::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
  input_taken_.cancel();
}

void Connection::give_up(const RequestError& error) {
  if (exchange_) exchange_->give_up(error);
}

// ---- input

asio::awaitable<void> Connection::read_input() {
  const std::size_t max_input = static_cast<std::size_t>(context_.settings.max_header_bytes) + kReadBytes;
  while (socket_.is_open()) {
    if (!discard_input_ && input_.size() >= max_input) {
      input_taken_.expires_after(seconds(context_.settings.pipeline_seconds));
      const auto [taken] = co_await input_taken_.async_wait(kAsTuple);
      if (!taken && input_.size() >= max_input) drop_further_requests();
      continue;
    }
    char bytes[kReadBytes];
    const auto [error, received] = co_await socket_.async_read_some(asio::buffer(bytes), kAsTuple);
    if (error) break;
    received_bytes_ += received;
    if (exchange_ && discard_input_ && (dropped_bytes_ += received) > kMaxDroppedBytes) break;
    if (!discard_input_) input_.append(bytes, received);
    input_changed_.cancel();
  }
  input_ended_ = true;
  input_changed_.cancel();
  output_changed_.cancel();
}

// Only who reads on notices that a client leaves. So what is piled up behind a long answer goes, and the
// connection ends with that answer.
void Connection::drop_further_requests() {
  if (!exchange_) return;
  exchange_->close_after();
  discard_input_ = true;
  input_.clear();
}

asio::awaitable<bool> Connection::more_input(TimePoint deadline) {
  if (input_ended_) co_return false;
  const std::uint64_t before = received_bytes_;
  input_changed_.expires_at(deadline);
  co_await input_changed_.async_wait(kAsTuple);
  co_return received_bytes_ != before;
}

void Connection::consume_input(std::size_t bytes) {
  input_.erase(0, bytes);
  input_taken_.cancel();
}

// ---- requests

// Where a request goes: to a route, or straight back with an answer.
struct Connection::Outcome {
  const Route* route =
      nullptr;  // with an answer too, if there is one for the path: requests are counted by it
  std::optional<Response> answer = {};
};

asio::awaitable<bool> Connection::serve_request() {
  IncomingRequest incoming(context_.settings, context_.body_bytes);
  Outcome outcome;
  try {
    if (!co_await receive_head(incoming)) co_return false;
    admit(incoming, outcome);
    if (!outcome.answer && incoming.has_body()) {
      if (!co_await receive_body(incoming)) co_return false;
    }
  } catch (const RequestError& error) {
    outcome.answer = error_response(error);
  }
  const ResponseFraming framing{.http_1_0 = incoming.http_1_0(),
                                .keep_alive = incoming.keeps_alive() && !context_.draining,
                                .head_only = incoming.request().method == "HEAD",
                                .headers = context_.gate.cross_origin().answer_headers(incoming.request())};
  std::shared_ptr<BodyReservation> reservation = incoming.finish_body();
  exchange_ = std::make_shared<PendingExchange>(
      context_.io, std::move(incoming.request()), framing,
      static_cast<std::size_t>(context_.settings.max_stream_buffer_bytes), [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->output_changed_.cancel();
      });
  context_.count_in_flight(+1);
  if (outcome.answer) {
    exchange_->respond(std::move(*outcome.answer));
  } else {
    dispatch(*outcome.route, std::move(reservation));
  }
  const bool written = co_await write_answer(*exchange_);
  report(*exchange_, outcome.route);
  context_.count_in_flight(-1);
  const bool goes_on = written && exchange_->keeps_alive();
  exchange_.reset();
  co_return goes_on;
}

asio::awaitable<bool> Connection::receive_head(IncomingRequest& incoming) {
  const ServerSettings& settings = context_.settings;
  const bool first_request = received_bytes_ == 0;
  const TimePoint idle_deadline =
      Clock::now() + seconds(first_request ? settings.header_seconds : settings.idle_seconds);
  while (input_.empty()) {
    if (!co_await more_input(idle_deadline)) co_return false;
  }
  incoming.request().received = Clock::now();
  const TimePoint deadline = incoming.request().received + seconds(settings.header_seconds);
  bool skipped_empty_line = false;
  std::size_t head_bytes = 0;
  for (;;) {
    // One empty line before a request is allowed: some clients send it after a body.
    if (!skipped_empty_line && input_.starts_with("\r\n")) {
      consume_input(2);
      skipped_empty_line = true;
    }
    const bool may_be_empty_line = !skipped_empty_line && input_ == "\r";
    if (!may_be_empty_line) head_bytes = incoming.scan_head(input_);
    if (head_bytes > 0) break;
    if (co_await more_input(deadline)) continue;
    if (input_ended_) co_return false;
    throw protocol_error(408, "The head of the request did not arrive in time.");
  }
  incoming.take_head(std::string_view(input_).substr(0, head_bytes));
  consume_input(head_bytes);
  co_return true;
}

// Everything that can be decided before the body is read. What it throws is an answer as well.
void Connection::admit(const IncomingRequest& incoming, Outcome& outcome) const {
  const Request& request = incoming.request();
  if (request.target == "*") {
    outcome.answer = Response{204, "", "", {{"Allow", context_.router.allow_of_all()}}};
    return;
  }
  const Router::Match match = context_.router.find(request.method, request.path);
  outcome.route = match.route ? match.route : match.on_path;
  context_.gate.check(request, match.route && match.route->open);
  if (is_preflight(request)) {  // also of paths that are not there, so that a page can read the 404
    const std::string allow = match.allow.empty() ? context_.router.allow_of_all() : match.allow;
    outcome.answer = context_.gate.cross_origin().preflight_answer(request, allow);
    return;
  }
  if (match.allow.empty()) {
    throw RequestError{404, "not_found_error", "not_found", "There is no " + request.path + " here."};
  }
  if (request.method == "OPTIONS") {
    outcome.answer = Response{204, "", "", {{"Allow", match.allow}}};
    return;
  }
  if (!match.route) {
    RequestError error = protocol_error(405, request.path + " does not take " + request.method + ".");
    error.headers.push_back({"Allow", match.allow});
    throw error;
  }
  if (match.route->offload) check_content(request);
}

asio::awaitable<bool> Connection::receive_body(IncomingRequest& incoming) {
  incoming.check_body_length();
  const TimePoint deadline = Clock::now() + seconds(context_.settings.body_seconds);
  if (incoming.expects_continue() && input_.empty()) {
    if (!co_await write("HTTP/1.1 100 Continue\r\n\r\n")) co_return false;
  }
  for (;;) {
    const std::size_t taken = incoming.take_body(input_);
    consume_input(taken);
    if (incoming.complete()) co_return true;
    if (co_await more_input(deadline)) continue;
    if (input_ended_) co_return false;
    throw protocol_error(408, "The body of the request did not arrive in time.");
  }
}

void Connection::dispatch(const Route& route, std::shared_ptr<BodyReservation> reservation) {
  if (!route.offload) return run_handler(route.handler, exchange_->handle());
  auto task = [&route, pending = exchange_, exchange = exchange_->handle(),
               reservation = std::move(reservation)] {
    if (!pending->over()) run_handler(route.handler, exchange);  // the client may have left meanwhile
  };
  if (exchange_->request().body.size() > kLargeBodyBytes) {
    context_.executor.offload_long(std::move(task));
  } else {
    context_.executor.offload(std::move(task));
  }
}

// ---- output

asio::awaitable<bool> Connection::write_answer(PendingExchange& exchange) {
  const auto silence = seconds(context_.settings.ping_seconds);
  TimePoint next_ping = Clock::now() + silence;
  for (;;) {
    if (exchange.has_output()) {
      const std::string bytes = exchange.take_output();
      if (!co_await write(bytes)) {
        exchange.abandon(stalled_ ? AbandonCause::client_stalled : AbandonCause::client_left);
        co_return false;
      }
      exchange.wrote(bytes.size());
      next_ping = Clock::now() + silence;
    } else if (exchange.ended()) {
      co_return true;
    } else if (input_ended_) {
      exchange.abandon(stalled_ ? AbandonCause::client_stalled : AbandonCause::client_left);
      co_return false;
    } else if (exchange.streaming() && Clock::now() >= next_ping) {
      exchange.ping();
    } else {
      output_changed_.expires_at(exchange.streaming() ? next_ping : TimePoint::max());
      co_await output_changed_.async_wait(kAsTuple);
    }
  }
}

// Mostly there is room in the socket; only otherwise the coroutine waits, and not for ever.
asio::awaitable<bool> Connection::write(std::string_view bytes) {
  while (!bytes.empty()) {
    boost::system::error_code error;
    const std::size_t sent = socket_.write_some(asio::buffer(bytes.data(), bytes.size()), error);
    bytes.remove_prefix(sent);
    if (!error) continue;
    if (error != asio::error::would_block) co_return false;
    writable_ = false;
    stall_timer_.expires_after(seconds(context_.settings.stall_seconds));
    stall_timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& cancelled) {
      const auto self = weak.lock();
      if (cancelled || !self || self->writable_) return;
      spdlog::warn("a client took nothing for {} s; its connection is closed",
                   self->context_.settings.stall_seconds);
      self->stalled_ = true;
      self->close();
    });
    const auto [wait_error] = co_await socket_.async_wait(asio::ip::tcp::socket::wait_write, kAsTuple);
    writable_ = true;
    stall_timer_.cancel();
    if (wait_error) co_return false;
  }
  co_return true;
}

asio::awaitable<void> Connection::linger() {
  if (input_ended_ || !socket_.is_open()) co_return;
  boost::system::error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  discard_input_ = true;
  input_.clear();
  input_taken_.cancel();
  const TimePoint deadline = Clock::now() + kLingerTime;
  while (co_await more_input(deadline) && Clock::now() < deadline) {
  }
}

void Connection::report(const PendingExchange& exchange, const Route* route) const {
  const Request& request = exchange.request();
  const std::string_view path = std::string_view(request.target).substr(0, request.target.find('?'));
  const AnsweredRequest answered{
      .endpoint = route ? route->path : "other",
      .status = exchange.status() == 0 ? kClientGone : exchange.status(),
      .seconds = std::chrono::duration<double>(Clock::now() - request.received).count(),
      .id = request.id,
      .client = client_address(peer_, request, context_.trusted_proxies),
      .method = request.method.empty() ? "-" : request.method,
      .path = path.empty() ? "-" : std::string(path),
      .bytes = exchange.bytes_written(),
      .tokens = exchange.tokens(),
      .probe = route && route->probe,
  };
  log_access(answered);
  context_.on_answered(answered);
}

}  // namespace sinkstream
