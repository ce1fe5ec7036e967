// What the server takes over from a BoundAddress.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <string>

#include "coordinator/http/bound_address.h"

namespace sinkstream {

struct ListenAddress {
  std::string host;  // without brackets
  std::string port;
};
// These throw StartupError (ExitCode::config).
ListenAddress parse_listen(const std::string& listen);
boost::asio::ip::tcp::endpoint resolve_listen(const std::string& listen);

struct BoundAddress::State {
  boost::asio::io_context io{1};
  boost::asio::ip::tcp::acceptor acceptor{io};
};

// "127.0.0.1:8000", "[::1]:8000"
std::string to_string(const boost::asio::ip::tcp::endpoint& endpoint);

}  // namespace sinkstream
