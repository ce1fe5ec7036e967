#include "coordinator/http/access/access.h"

#include <algorithm>
#include <array>
#include <fstream>

#include "base/error.h"
#include "coordinator/http/message/request_error.h"
#include "coordinator/http/message/request_head.h"

namespace sinkstream {
namespace {

std::vector<std::string> load_keys(const std::string& path) {
  constexpr std::string_view kSpace = " \t\r";
  std::ifstream file(path);
  if (!file) {
    throw StartupError(ExitCode::config,
                       "server.api_key_file: cannot read " + path + "; name a file with one key a line");
  }
  std::vector<std::string> keys;
  for (std::string line; std::getline(file, line);) {
    const std::size_t begin = line.find_first_not_of(kSpace);
    if (begin == std::string::npos || line[begin] == '#') continue;
    keys.push_back(line.substr(begin, line.find_last_not_of(kSpace) - begin + 1));
  }
  if (keys.empty()) {
    throw StartupError(ExitCode::config,
                       "server.api_key_file: " + path + " holds no key; put one key on a line");
  }
  return keys;
}

// Takes the same time for every key of the same length as `given`.
bool equal_in_constant_time(std::string_view given, std::string_view key) {
  unsigned difference = given.size() == key.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const char expected = key[i % key.size()];
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(expected);
  }
  return difference == 0;
}

}  // namespace

std::string_view api_key_of(const Request& request) {
  constexpr std::string_view kBearer = "Bearer ";
  const std::string_view authorization = request.header("authorization");
  if (authorization.size() > kBearer.size() &&
      equal_ignoring_case(authorization.substr(0, kBearer.size()), kBearer)) {
    return authorization.substr(kBearer.size());
  }
  return request.header("x-api-key");
}

AccessGate::AccessGate(const ServerSettings& settings, const std::string& listen_host, bool loopback)
    : cross_origin_(settings.allowed_origins),
      allowed_hosts_(settings.allowed_hosts),
      listen_host_(listen_host),
      loopback_(loopback) {
  if (!settings.api_key_file.empty()) keys_ = load_keys(settings.api_key_file);
  if (keys_.empty() && !loopback && !settings.insecure) {
    throw StartupError(
        ExitCode::config,
        "server.listen: " + settings.listen +
            " can be reached from other machines and no key is asked for; set server.api_key_file, "
            "or server.insecure: true if that is meant");
  }
}

void AccessGate::check(const Request& request, bool open_route) const {
  if (keys_.empty()) {
    if (loopback_) check_origin(request);
  } else if (!open_route && !is_preflight(request)) {
    check_key(request);
  }
}

void AccessGate::check_key(const Request& request) const {
  const std::string_view given = api_key_of(request);
  bool known = false;
  for (const std::string& key : keys_) known |= equal_in_constant_time(given, key);
  if (known) return;
  RequestError error{401, "authentication_error", "invalid_api_key",
                     given.empty()
                         ? "An API key is needed: send 'Authorization: Bearer KEY' or 'x-api-key: KEY'."
                         : "The API key is not known."};
  error.headers.push_back({"WWW-Authenticate", "Bearer"});
  throw error;
}

void AccessGate::check_origin(const Request& request) const {
  if (!request.host.empty() && !is_own_host(request.host)) {
    throw RequestError{403, "permission_error", "foreign_host",
                       "The request is for another host. Use http://localhost, or name the host in "
                       "server.allowed_hosts."};
  }
  const std::string_view origin = request.header("origin");
  if (origin.empty() || cross_origin_.allows(origin)) return;
  const std::size_t scheme = origin.find("://");
  if (scheme == std::string_view::npos || !is_own_host(origin.substr(scheme + 3))) {
    throw RequestError{
        403, "permission_error", "foreign_origin",
        "Pages of this origin may not use this server; name the origin in server.allowed_origins."};
  }
}

bool AccessGate::is_own_host(std::string_view text) const {
  constexpr std::array<std::string_view, 3> kLoopbackNames = {"localhost", "127.0.0.1", "[::1]"};
  const auto parsed = parse_host(text);
  if (!parsed) return false;
  const auto is_host = [&](std::string_view name) { return equal_ignoring_case(parsed->host, name); };
  return is_host(listen_host_) || std::ranges::any_of(kLoopbackNames, is_host) ||
         std::ranges::any_of(allowed_hosts_,
                             [&](std::string_view name) { return name == "*" || is_host(name); });
}

}  // namespace sinkstream
