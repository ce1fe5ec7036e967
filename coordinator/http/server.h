// Listens, speaks HTTP/1.1 and keeps the limits of ServerSettings; what is answered is the endpoints'
// business.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "coordinator/http/bound_address.h"
#include "coordinator/http/exchange.h"
#include "coordinator/http/executor.h"
#include "coordinator/http/message/request_error.h"
#include "coordinator/http/router.h"
#include "coordinator/http/server_settings.h"

namespace sinkstream {

// As other servers write it: the client had gone before an answer.
inline constexpr int kClientGone = 499;

// One answered (or abandoned) request, for metrics and the log. I/O thread.
struct AnsweredRequest {
  std::string endpoint;  // the route's path; "other" when no route took it
  int status = kClientGone;
  double seconds = 0;       // from its first byte to the last one of the answer
  std::string id = {};      // x-request-id
  std::string client = {};  // its address
  std::string method = {};  // "-" where the head was none; so the path
  std::string path = {};    // as sent, without the query
  std::size_t bytes = 0;    // of the answer
  std::optional<TokenCounts> tokens = {};
  bool probe = false;  // the route's
};

// Throws StartupError (ExitCode::config) for what would keep a server from starting, but for an address in
// use.
void check_server_settings(const ServerSettings& settings);

// All methods but the constructor: any thread; start and stop once.
class Server {
 public:
  // Throws StartupError: an unusable address or key file (ExitCode::config).
  explicit Server(const ServerSettings& settings);
  ~Server();  // stops

  // Before start().
  Router& router();
  void on_answered(std::function<void(const AnsweredRequest&)> observer);

  std::shared_ptr<Executor> executor() const;

  // Listens from now on; returns the address, "127.0.0.1:8000". Throws StartupError (ExitCode::bind).
  std::string start();
  std::string start(BoundAddress bound);  // there

  // From now on each response closes its connection. Requests are still taken; endpoints refuse what they
  // must.
  void begin_drain();
  // Whether all requests in flight were answered before the deadline.
  bool wait_until_idle(std::chrono::steady_clock::time_point deadline);

  // Answers every request in flight with the error at once. Returns when that is sent, or after a second.
  void fail(const RequestError& error);

  // Tells whoever still waits (as fail does), closes everything and ends the threads.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sinkstream
