#include "parallel/watch/rendezvous.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <tuple>

#include "base/wire.h"

namespace sinkstream::watch {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kConnectLimit{2000};
constexpr milliseconds kWelcomeLimit{5000};
constexpr milliseconds kBetweenRounds{100};
constexpr const char* kLoopback = "127.0.0.1";

sockaddr_in socket_address(in_addr_t address, std::uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_addr.s_addr = address;
  result.sin_port = htons(port);
  return result;
}

FileDescriptor tcp_socket() {
  FileDescriptor fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) throw std::system_error(errno, std::generic_category(), "the watchdog cannot open a socket");
  return fd;
}

// Nothing where the connection does not come about in time; errno says why.
FileDescriptor connect(const std::string& address, std::uint16_t port) {
  in_addr parsed{};
  if (::inet_pton(AF_INET, address.c_str(), &parsed) != 1) return {};
  const sockaddr_in to = socket_address(parsed.s_addr, port);
  FileDescriptor fd = tcp_socket();
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0) return fd;
  if (errno != EINPROGRESS) return {};
  pollfd wait{fd.get(), POLLOUT, 0};
  if (::poll(&wait, 1, static_cast<int>(kConnectLimit.count())) <= 0) {
    errno = ETIMEDOUT;
    return {};
  }
  int error = 0;
  socklen_t length = sizeof(error);
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  errno = error;
  return error == 0 ? std::move(fd) : FileDescriptor();
}

}  // namespace

static auto fields(wire::Is<Rendezvous> auto& place) {
  auto& [token, port, addresses] = place;
  return std::tie(token, port, addresses);
}

std::string encode(const Rendezvous& place) {
  return std::string(wire::as_text(wire::encode(place)));
}

Rendezvous decode_rendezvous(const std::string& bytes) {
  try {
    auto place = wire::decode<Rendezvous>(wire::as_bytes(bytes));
    if (place.port != 0 && !place.addresses.empty()) return place;
  } catch (const wire::Malformed&) {
  }
  throw std::runtime_error("the leader did not say where its watchdog listens");
}

Token random_token() {
  std::random_device random;  // the system's generator
  Token token;
  for (char& byte : token) byte = static_cast<char>(random());
  return token;
}

FileDescriptor listen(bool loopback_only) {
  FileDescriptor fd = tcp_socket();
  const sockaddr_in at = socket_address(htonl(loopback_only ? INADDR_LOOPBACK : INADDR_ANY), 0);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0) {
    throw std::system_error(errno, std::generic_category(), "the watchdog cannot listen");
  }
  return fd;
}

std::uint16_t port_of(const FileDescriptor& listener) {
  sockaddr_in at{};
  socklen_t length = sizeof(at);
  if (::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&at), &length) != 0) {
    throw std::system_error(errno, std::generic_category(), "the watchdog's socket has no address");
  }
  return ntohs(at.sin_port);
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> addresses;
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) == 0) {
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(first, ::freeifaddrs);
    for (const ifaddrs* i = first; i != nullptr; i = i->ifa_next) {
      const bool usable = i->ifa_addr != nullptr && i->ifa_addr->sa_family == AF_INET &&
                          (i->ifa_flags & IFF_UP) != 0 && (i->ifa_flags & IFF_LOOPBACK) == 0;
      if (!usable) continue;
      sockaddr_in address{};
      std::memcpy(&address, i->ifa_addr, sizeof(address));
      std::array<char, INET_ADDRSTRLEN> text{};
      ::inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
      addresses.emplace_back(text.data());
    }
  }
  addresses.emplace_back(kLoopback);  // for two containers that share a network but little else
  return addresses;
}

FileDescriptor accept(const FileDescriptor& listener) {
  return FileDescriptor(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

Connection join(const Rendezvous& place, int rank, milliseconds limit) {
  const auto deadline = steady_clock::now() + limit;
  std::string tried;
  do {
    tried.clear();
    for (const std::string& address : place.addresses) {
      const std::string where = address + ":" + std::to_string(place.port);
      FileDescriptor fd = connect(address, place.port);
      if (const int error = errno; !fd) {
        tried += (tried.empty() ? "" : ", ") + where + " (" + std::generic_category().message(error) + ")";
        continue;
      }
      Connection connection(std::move(fd));
      connection.send(Hello{place.token, static_cast<std::uint32_t>(rank)});
      const auto answer = connection.receive_one(kWelcomeLimit);
      if (answer && std::holds_alternative<Welcome>(*answer)) return connection;
      tried += (tried.empty() ? "" : ", ") + where + " (no welcome)";
    }
    std::this_thread::sleep_for(kBetweenRounds);
  } while (steady_clock::now() < deadline);
  throw std::runtime_error("cannot reach the leader's watchdog; tried " + tried +
                           "; the hosts of a group need TCP between them");
}

}  // namespace sinkstream::watch
