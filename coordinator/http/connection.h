// One client's connection: requests one after the other, each with absolute deadlines.
//
// Two coroutines on the I/O thread share it. One reads bytes as they come, so that a client that leaves is
// noticed while its answer is still being made; the other takes requests out of them, has them answered and
// writes.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "coordinator/http/access/access.h"
#include "coordinator/http/access/client_address.h"
#include "coordinator/http/executor.h"
#include "coordinator/http/pending_exchange.h"
#include "coordinator/http/router.h"
#include "coordinator/http/server.h"
#include "coordinator/http/server_settings.h"

namespace sinkstream {

class BodyReservation;
class IncomingRequest;

// What all connections share; outlives them.
struct ConnectionContext {
  std::weak_ptr<boost::asio::io_context> io;
  const ServerSettings& settings;
  const Router& router;
  const AccessGate& gate;
  const TrustedProxies& trusted_proxies;
  Executor& executor;
  std::function<void(const AnsweredRequest&)> on_answered = {};
  std::function<void(int)> count_in_flight = {};  // +1, -1
  std::atomic<bool> draining{false};
  // Of all requests being received or parsed; reservations may outlive the server.
  std::shared_ptr<std::atomic<std::int64_t>> body_bytes = std::make_shared<std::atomic<std::int64_t>>(0);
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(boost::asio::ip::tcp::socket socket, ConnectionContext& context);

  boost::asio::awaitable<void> run();  // until the connection is closed

  // I/O thread.
  void give_up(const RequestError& error);  // the request in flight, if any
  void close();

 private:
  using Clock = std::chrono::steady_clock;
  using TimePoint = Clock::time_point;
  template <typename T = void>
  using Awaitable = boost::asio::awaitable<T>;

  Awaitable<> read_input();
  Awaitable<bool> more_input(TimePoint deadline);  // false: the deadline passed, or input has ended
  void consume_input(std::size_t bytes);
  void drop_further_requests();

  // false: the connection ends.
  Awaitable<bool> serve_request();
  struct Outcome;
  // These throw RequestError. false: the client has gone, or stayed idle.
  Awaitable<bool> receive_head(IncomingRequest& incoming);
  Awaitable<bool> receive_body(IncomingRequest& incoming);
  void admit(const IncomingRequest& incoming, Outcome& outcome) const;
  void dispatch(const Route& route, std::shared_ptr<BodyReservation> reservation);

  Awaitable<bool> write_answer(PendingExchange& exchange);  // false: the client has gone
  Awaitable<bool> write(std::string_view bytes);
  Awaitable<> linger();
  void report(const PendingExchange& exchange, const Route* route) const;

  boost::asio::ip::tcp::socket socket_;
  boost::asio::ip::address peer_;
  ConnectionContext& context_;

  std::string input_;  // received and not yet taken
  std::uint64_t received_bytes_ = 0;
  bool input_ended_ = false;
  bool discard_input_ = false;
  std::size_t dropped_bytes_ = 0;  // while an answer is being made
  // Condition variables: waits end when they are cancelled.
  boost::asio::steady_timer input_changed_;
  boost::asio::steady_timer input_taken_;
  boost::asio::steady_timer output_changed_;

  boost::asio::steady_timer stall_timer_;
  bool writable_ = true;
  bool stalled_ = false;  // closed because it took nothing

  std::shared_ptr<PendingExchange> exchange_;  // in flight
};

}  // namespace sinkstream
