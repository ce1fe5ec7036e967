// Whom a request is from, where proxies stand between. For the log; nothing is allowed or refused by it.
#pragma once

#include <array>
#include <boost/asio/ip/address.hpp>
#include <string>
#include <vector>

#include "coordinator/http/message/message.h"

namespace sinkstream {

// Peers whose word on a client's address counts.
class TrustedProxies {
 public:
  // Items as of server.trusted_proxies, checked: "10.0.0.1", "10.0.0.0/8", "fd00::/8".
  explicit TrustedProxies(const std::vector<std::string>& items);
  bool contains(const boost::asio::ip::address& address) const;

 private:
  struct Network {
    std::array<unsigned char, 16> bytes;  // IPv4 as mapped into IPv6
    unsigned prefix_bits;
  };
  static bool parse(const std::string& item, Network& network);
  friend std::string trusted_proxy_problem(const std::string& item);

  std::vector<Network> networks_;
};

// What is wrong with an item, or nothing.
std::string trusted_proxy_problem(const std::string& item);

// The peer, or, while whoever passed the request on is trusted, the one before it, as X-Forwarded-For names
// it (or Forwarded, where there is no such field).
std::string client_address(const boost::asio::ip::address& peer, const Request& request,
                           const TrustedProxies& trusted);

}  // namespace sinkstream
