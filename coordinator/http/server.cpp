#include "coordinator/http/server.h"

#include <spdlog/spdlog.h>

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>

#include "base/error.h"
#include "coordinator/http/access/access.h"
#include "coordinator/http/bound_address_state.h"
#include "coordinator/http/connection.h"

namespace sinkstream {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);

constexpr int kPoolThreads = 2;
// Bounds what the kernel holds for a reader that does not read.
constexpr int kSendBufferBytes = 131072;
constexpr std::chrono::milliseconds kAcceptRetry{100};
constexpr std::chrono::seconds kAcceptWarningEvery{10};
constexpr std::chrono::seconds kGoodbyeTime{1};

// Tasks after the end of the server are dropped.
class ServerExecutor : public Executor {
 public:
  ServerExecutor(std::weak_ptr<asio::io_context> io, std::weak_ptr<asio::thread_pool> pool,
                 std::weak_ptr<asio::thread_pool> long_pool)
      : io_(std::move(io)), pool_(std::move(pool)), long_pool_(std::move(long_pool)) {}
  void post(std::function<void()> task) override {
    if (const auto io = io_.lock()) asio::post(*io, std::move(task));
  }
  void offload(std::function<void()> task) override {
    if (const auto pool = pool_.lock()) asio::post(*pool, std::move(task));
  }
  void offload_long(std::function<void()> task) override {
    if (const auto pool = long_pool_.lock()) asio::post(*pool, std::move(task));
  }
  TimePoint now() const override { return Clock::now(); }
  void post_at(TimePoint time, std::function<void()> task) override {
    const auto io = io_.lock();
    if (!io) return;
    asio::post(*io, [io = io.get(), time, task = std::move(task)] {
      const auto timer = std::make_shared<asio::steady_timer>(*io, time);
      timer->async_wait([timer, task](const boost::system::error_code& error) {
        if (!error) task();
      });
    });
  }

 private:
  std::weak_ptr<asio::io_context> io_;
  std::weak_ptr<asio::thread_pool> pool_;
  std::weak_ptr<asio::thread_pool> long_pool_;
};

}  // namespace

void check_server_settings(const ServerSettings& settings) {
  const tcp::endpoint endpoint = resolve_listen(checked(settings).listen);
  const AccessGate gate(settings, parse_listen(settings.listen).host, endpoint.address().is_loopback());
}

struct Server::State {
  explicit State(const ServerSettings& server_settings);

  std::string listen(BoundAddress bound);
  asio::awaitable<void> accept_connections();
  asio::awaitable<void> pause_accepting(const boost::system::error_code& error);
  void add_connection(tcp::socket socket);
  void run_io();
  void count_in_flight(int change);
  void give_up_all(const RequestError& error);
  bool wait_until_idle(Clock::time_point deadline);
  bool wait_until_closed(Clock::time_point deadline);

  const ServerSettings settings;
  Router router;
  std::shared_ptr<asio::io_context> io = std::make_shared<asio::io_context>(1);
  std::shared_ptr<asio::thread_pool> pool = std::make_shared<asio::thread_pool>(kPoolThreads);
  std::shared_ptr<asio::thread_pool> long_pool = std::make_shared<asio::thread_pool>(1);
  std::shared_ptr<ServerExecutor> executor = std::make_shared<ServerExecutor>(io, pool, long_pool);
  const tcp::endpoint endpoint;
  const AccessGate gate;
  const TrustedProxies trusted_proxies{settings.trusted_proxies};
  ConnectionContext context;
  tcp::acceptor acceptor{*io};
  asio::steady_timer room{*io};                                 // cancelled when a connection ends
  std::unordered_set<std::shared_ptr<Connection>> connections;  // I/O thread only
  Clock::time_point next_accept_warning = {};
  std::thread io_thread;
  std::atomic<bool> running{false};

  std::mutex mutex;
  std::condition_variable changed;
  std::int64_t in_flight = 0;         // guarded by mutex
  std::int64_t open_connections = 0;  // guarded by mutex
};

Server::State::State(const ServerSettings& server_settings)
    : settings(checked(server_settings)),
      endpoint(resolve_listen(settings.listen)),
      gate(settings, parse_listen(settings.listen).host, endpoint.address().is_loopback()),
      context{.io = io,
              .settings = settings,
              .router = router,
              .gate = gate,
              .trusted_proxies = trusted_proxies,
              .executor = *executor} {
  if (gate.open_to_all_pages()) {
    spdlog::warn(
        "server.allowed_origins holds \"*\" and no key is asked for: every web page that a user of this "
        "machine visits can use this server; name the origins, or set server.api_key_file");
  }
  context.on_answered = [](const AnsweredRequest&) {};
  context.count_in_flight = [this](int change) { count_in_flight(change); };
}

std::string Server::State::listen(BoundAddress bound) {
  tcp::acceptor& waiting = bound.state().acceptor;
  const auto protocol = waiting.local_endpoint().protocol();
  boost::system::error_code error;
  acceptor.assign(protocol, waiting.release(error), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);  // for the next server here
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) throw StartupError(ExitCode::bind, listen_problem(settings.listen, error.value()));
  return to_string(acceptor.local_endpoint());
}

asio::awaitable<void> Server::State::accept_connections() {
  while (acceptor.is_open()) {
    if (connections.size() >= static_cast<std::size_t>(settings.max_connections)) {
      room.expires_at(Clock::time_point::max());
      co_await room.async_wait(kAsTuple);
      continue;
    }
    tcp::socket socket(*io);
    const auto [error] = co_await acceptor.async_accept(socket, kAsTuple);
    if (!error) {
      add_connection(std::move(socket));
    } else if (error != asio::error::operation_aborted) {
      co_await pause_accepting(error);
    }
  }
}

// E.g. no free file descriptors: trying again at once would only spin.
asio::awaitable<void> Server::State::pause_accepting(const boost::system::error_code& error) {
  if (Clock::now() >= next_accept_warning) {
    spdlog::warn("cannot accept connections: {}; trying again", error.message());
    next_accept_warning = Clock::now() + kAcceptWarningEvery;
  }
  asio::steady_timer timer(*io, kAcceptRetry);
  co_await timer.async_wait(kAsTuple);
}

void Server::State::add_connection(tcp::socket socket) {
  boost::system::error_code error;
  socket.set_option(tcp::no_delay(true), error);
  socket.set_option(asio::socket_base::send_buffer_size(kSendBufferBytes), error);
  socket.non_blocking(true, error);
  if (error) return;
  const auto connection = std::make_shared<Connection>(std::move(socket), context);
  connections.insert(connection);
  {
    const std::lock_guard lock(mutex);
    ++open_connections;
  }
  asio::co_spawn(
      *io, [connection] { return connection->run(); },
      [this, connection](const std::exception_ptr& exception) {
        try {
          if (exception) std::rethrow_exception(exception);
        } catch (const std::exception& failure) {
          spdlog::error("a connection failed: {}", failure.what());
        }
        connection->close();
        connections.erase(connection);
        room.cancel();
        const std::lock_guard lock(mutex);
        --open_connections;
        changed.notify_all();
      });
}

void Server::State::run_io() {
  for (;;) {
    try {
      io->run();
      return;
    } catch (const std::exception& error) {
      spdlog::error("the I/O thread goes on after: {}", error.what());
    }
  }
}

void Server::State::count_in_flight(int change) {
  const std::lock_guard lock(mutex);
  in_flight += change;
  changed.notify_all();
}

// Returns when everybody in flight has been told, or after kGoodbyeTime.
void Server::State::give_up_all(const RequestError& error) {
  asio::post(*io, [this, error] {
    const auto open = connections;
    for (const auto& connection : open) connection->give_up(error);
  });
  wait_until_idle(Clock::now() + kGoodbyeTime);
}

bool Server::State::wait_until_idle(Clock::time_point deadline) {
  std::unique_lock lock(mutex);
  return changed.wait_until(lock, deadline, [this] { return in_flight == 0; });
}

bool Server::State::wait_until_closed(Clock::time_point deadline) {
  std::unique_lock lock(mutex);
  return changed.wait_until(lock, deadline, [this] { return open_connections == 0; });
}

Server::Server(const ServerSettings& settings) : state_(std::make_unique<State>(settings)) {}

Server::~Server() {
  stop();
}

Router& Server::router() {
  return state_->router;
}

void Server::on_answered(std::function<void(const AnsweredRequest&)> observer) {
  state_->context.on_answered = std::move(observer);
}

std::shared_ptr<Executor> Server::executor() const {
  return state_->executor;
}

std::string Server::start() {
  return start(BoundAddress(state_->settings));
}

std::string Server::start(BoundAddress bound) {
  const std::string address = state_->listen(std::move(bound));
  asio::co_spawn(
      *state_->io, [state = state_.get()] { return state->accept_connections(); }, asio::detached);
  state_->running = true;
  state_->io_thread = std::thread([state = state_.get()] { state->run_io(); });
  return address;
}

void Server::begin_drain() {
  state_->context.draining = true;
}

bool Server::wait_until_idle(Clock::time_point deadline) {
  return state_->wait_until_idle(deadline);
}

void Server::fail(const RequestError& error) {
  if (state_->running) state_->give_up_all(error);
}

void Server::stop() {
  if (!state_->running.exchange(false)) return;
  for (const auto& pool : {state_->pool, state_->long_pool}) pool->stop();
  for (const auto& pool : {state_->pool, state_->long_pool}) pool->join();
  state_->give_up_all(unavailable("The server is ending."));
  asio::post(*state_->io, [state = state_.get()] {
    boost::system::error_code ignored;
    state->acceptor.close(ignored);
    state->room.cancel();
    const auto connections = state->connections;
    for (const auto& connection : connections) connection->close();
  });
  state_->wait_until_closed(Clock::now() + kGoodbyeTime);
  state_->io->stop();
  state_->io_thread.join();
  state_->connections.clear();
}

}  // namespace sinkstream
