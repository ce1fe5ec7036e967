#include "coordinator/http/access/client_address.h"

#include <algorithm>
#include <boost/asio/ip/address_v6.hpp>
#include <charconv>
#include <optional>
#include <string_view>

namespace sinkstream {
namespace {

namespace ip = boost::asio::ip;

constexpr unsigned kMappedBits = 96;  // before an IPv4 address in its IPv6 form

std::array<unsigned char, 16> mapped_bytes(const ip::address& address) {
  return (address.is_v6() ? address.to_v6() : ip::make_address_v6(ip::v4_mapped, address.to_v4())).to_bytes();
}

ip::address unmapped(const ip::address& address) {
  if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address;
  return ip::make_address_v4(ip::v4_mapped, address.to_v6());
}

std::string_view strip(std::string_view text, std::string_view what) {
  const auto begin = text.find_first_not_of(what);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(what) - begin + 1);
}

// "1.2.3.4", "1.2.3.4:80", "::1", "[::1]", "[::1]:80", each perhaps quoted.
std::optional<ip::address> parse_hop(std::string_view text) {
  text = strip(text, " \t\"");
  if (text.starts_with('[')) {
    text = text.substr(1, text.find(']') - 1);
  } else if (std::ranges::count(text, ':') == 1) {
    text = text.substr(0, text.find(':'));
  }
  if (text.find('%') != text.npos) return std::nullopt;
  boost::system::error_code error;
  const ip::address address = ip::make_address(std::string(text), error);
  if (error) return std::nullopt;
  return unmapped(address);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// `for` of one hop of a Forwarded field (RFC 7239): "for=1.2.3.4;proto=https".
std::string_view forwarded_for(std::string_view hop) {
  constexpr std::string_view kFor = "for=";
  for (const std::string_view pair : split(hop, ';')) {
    const std::string_view trimmed = strip(pair, " \t");
    if (equal_ignoring_case(trimmed.substr(0, kFor.size()), kFor)) return trimmed.substr(kFor.size());
  }
  return {};
}

// From the client to the last proxy but one, as they say.
std::vector<std::string_view> hops_of(const Request& request) {
  std::vector<std::string_view> hops;
  std::vector<std::string_view> forwarded;
  for (const Header& field : request.headers) {
    if (equal_ignoring_case(field.name, "x-forwarded-for")) {
      for (const std::string_view hop : split(field.value, ',')) hops.push_back(hop);
    } else if (equal_ignoring_case(field.name, "forwarded")) {
      for (const std::string_view hop : split(field.value, ',')) forwarded.push_back(forwarded_for(hop));
    }
  }
  return hops.empty() ? forwarded : hops;
}

}  // namespace

TrustedProxies::TrustedProxies(const std::vector<std::string>& items) {
  for (const std::string& item : items) {
    Network network;
    if (parse(item, network)) networks_.push_back(network);
  }
}

bool TrustedProxies::parse(const std::string& item, Network& network) {
  const auto slash = item.find('/');
  boost::system::error_code error;
  const ip::address address = ip::make_address(item.substr(0, slash), error);
  if (error || item.find('%') != item.npos) return false;
  const unsigned address_bits = address.is_v6() ? 128 : 32;
  unsigned bits = address_bits;
  if (slash != std::string::npos) {
    const char* end = item.data() + item.size();
    const auto parsed = std::from_chars(item.data() + slash + 1, end, bits);
    if (parsed.ec != std::errc() || parsed.ptr != end || bits > address_bits) return false;
  }
  network = {mapped_bytes(address), bits + (address.is_v6() ? 0 : kMappedBits)};
  return true;
}

bool TrustedProxies::contains(const ip::address& address) const {
  const auto bytes = mapped_bytes(address);
  return std::ranges::any_of(networks_, [&](const Network& network) {
    for (unsigned bit = 0; bit < network.prefix_bits; ++bit) {
      const int mask = 0x80 >> (bit % 8);
      if ((bytes[bit / 8] & mask) != (network.bytes[bit / 8] & mask)) return false;
    }
    return true;
  });
}

std::string trusted_proxy_problem(const std::string& item) {
  TrustedProxies::Network network;
  if (TrustedProxies::parse(item, network)) return "";
  return "is not an address or a network, e.g. 10.0.0.1 or 10.0.0.0/8";
}

std::string client_address(const ip::address& peer, const Request& request, const TrustedProxies& trusted) {
  ip::address client = unmapped(peer);
  const auto hops = hops_of(request);
  for (auto hop = hops.rbegin(); hop != hops.rend() && trusted.contains(client); ++hop) {
    const auto named = parse_hop(*hop);
    if (!named) break;
    client = *named;
  }
  return client.to_string();
}

}  // namespace sinkstream
