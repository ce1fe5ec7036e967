// An exchange between its endpoint, which answers from any thread, and its connection, which writes the
// answer.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "coordinator/http/exchange.h"
#include "coordinator/http/message/response_format.h"

namespace sinkstream {

class PendingExchange : public Exchange, public std::enable_shared_from_this<PendingExchange> {
 public:
  // `wake` is called on the I/O thread when there is something for the connection to do.
  PendingExchange(std::weak_ptr<boost::asio::io_context> io, Request request, const ResponseFraming& framing,
                  std::size_t max_unsent_bytes, std::function<void()> wake);

  // What an endpoint gets: when the last copy goes unanswered, the client gets a 500.
  std::shared_ptr<Exchange> handle();

  const Request& request() const override { return request_; }
  std::string take_body() override { return std::move(request_.body); }
  void add_header(Header header) override;
  void respond(Response response) override;
  void start_stream() override;
  void send(std::string_view events) override;
  void finish_stream() override;
  void fail(const RequestError& error) override;
  void on_abandoned(std::function<void(AbandonCause)> callback) override;
  void note_tokens(const TokenCounts& tokens) override;
  // Nobody waits for an answer any more. Any thread.
  bool over() const { return over_.load(std::memory_order_relaxed); }
  bool backlogged() const override {
    return unsent_bytes_.load(std::memory_order_relaxed) > max_unsent_bytes_;
  }
  void on_room(std::function<void()> callback) override;

  // The connection's side, on the I/O thread.
  bool has_output() const { return !output_.empty(); }
  std::string take_output() { return std::exchange(output_, {}); }
  void wrote(std::size_t bytes);
  void ping();                              // a comment, if a stream is open
  void abandon(AbandonCause cause);         // the client has gone
  void give_up(const RequestError& error);  // the server ends: tells the client and the endpoint
  void close_after();                       // no further request on this connection
  bool streaming() const { return state_ == State::streaming; }
  bool ended() const { return state_ == State::complete || state_ == State::broken; }
  // Whether another request may follow on this connection.
  bool keeps_alive() const { return state_ == State::complete && framing_.keep_alive; }
  int status() const { return status_; }  // 0: none was sent
  const std::optional<TokenCounts>& tokens() const { return tokens_; }
  std::size_t bytes_written() const { return bytes_written_; }

 private:
  enum class State { waiting, streaming, complete, broken };

  void let_go();
  void run_on_io(std::function<void(PendingExchange&)> action);
  void add_output(std::string bytes);
  void end(State state);

  std::weak_ptr<boost::asio::io_context> io_;
  Request request_;
  const std::size_t max_unsent_bytes_;
  std::atomic<std::size_t> unsent_bytes_{0};
  std::atomic<bool> over_{false};

  // I/O thread only.
  ResponseFraming framing_;
  State state_ = State::waiting;
  std::optional<AbandonCause> abandoned_;
  std::string output_;
  int status_ = 0;
  std::size_t bytes_written_ = 0;
  std::optional<TokenCounts> tokens_;
  std::function<void()> wake_;
  std::function<void(AbandonCause)> abandoned_callback_;
  std::function<void()> room_callback_;
};

}  // namespace sinkstream
