#include "coordinator/http/bound_address.h"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <system_error>

#include "base/error.h"
#include "coordinator/http/bound_address_state.h"
#include "coordinator/http/message/request_head.h"

namespace sinkstream {
namespace {

using boost::asio::ip::tcp;

int first_unprivileged_port() {
  constexpr int kUsual = 1024;
  std::ifstream file("/proc/sys/net/ipv4/ip_unprivileged_port_start");
  int port = kUsual;
  return file >> port ? port : kUsual;
}

void open_and_bind(tcp::acceptor& acceptor, const tcp::endpoint& endpoint, bool reuse,
                   boost::system::error_code& error) {
  boost::system::error_code ignored;
  acceptor.close(ignored);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(reuse), error);
  if (!error) acceptor.bind(endpoint, error);
}

}  // namespace

ListenAddress parse_listen(const std::string& listen) {
  const auto parsed = parse_host(listen);
  if (!parsed || parsed->port.empty()) {
    throw StartupError(ExitCode::config,
                       "server.listen: '" + listen +
                           "' is not an address; write host:port, e.g. 127.0.0.1:8000 or [::1]:8000");
  }
  std::string_view host = parsed->host;
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  return {std::string(host), std::string(parsed->port)};
}

tcp::endpoint resolve_listen(const std::string& listen) {
  const ListenAddress address = parse_listen(listen);
  boost::asio::io_context io(1);
  boost::system::error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(address.host, address.port, tcp::resolver::passive, error);
  if (error || found.empty()) {
    throw StartupError(ExitCode::config, "server.listen: " + listen + ": " + error.message());
  }
  return found.begin()->endpoint();
}

std::string to_string(const tcp::endpoint& endpoint) {
  const std::string host = endpoint.address().to_string();
  return (endpoint.address().is_v6() ? "[" + host + "]" : host) + ":" + std::to_string(endpoint.port());
}

// Two that bind with SO_REUSEADDR share an address until one of them listens, so the first try is without it.
// Only connections of an earlier server that linger need it, and so will those of this one: it is set when
// the server listens.
BoundAddress::BoundAddress(const ServerSettings& settings) : state_(std::make_unique<State>()) {
  const tcp::endpoint endpoint = resolve_listen(settings.listen);
  boost::system::error_code error;
  open_and_bind(state_->acceptor, endpoint, false, error);
  if (error.value() == EADDRINUSE) open_and_bind(state_->acceptor, endpoint, true, error);
  if (error) throw StartupError(ExitCode::bind, listen_problem(settings.listen, error.value()));
}

BoundAddress::~BoundAddress() = default;
BoundAddress::BoundAddress(BoundAddress&&) noexcept = default;
BoundAddress& BoundAddress::operator=(BoundAddress&&) noexcept = default;

std::string listen_problem(const std::string& listen, int error) {
  const std::string what = "cannot listen on " + listen + ": " + std::system_category().message(error);
  switch (error) {
    case EACCES:
    case EPERM:
      return what + fmt::format(
                        "; ports below {} need a right: choose a higher one and put a proxy before it "
                        "(docs/proxies.md), or give the right once: setcap cap_net_bind_service=+ep on the "
                        "stream-worker binary, or sysctl net.ipv4.ip_unprivileged_port_start=PORT",
                        first_unprivileged_port());
    case EADDRNOTAVAIL:
      return what +
             "; no interface of this machine has that address: set server.listen to one that does, "
             "e.g. 127.0.0.1:8000, or 0.0.0.0:8000 for all";
    default:
      return what + "; end what uses it, or set server.listen to another address";
  }
}

}  // namespace sinkstream
