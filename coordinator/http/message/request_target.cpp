#include "coordinator/http/message/request_target.h"

#include <utility>

#include "coordinator/http/message/message.h"

namespace sinkstream {
namespace {

TargetResult refuse(int status, std::string reason) {
  return {{}, HeadRefusal{status, std::move(reason)}};
}

// `rest` is what follows "://".
TargetResult parse_absolute(std::string_view method, std::string_view scheme, std::string_view rest) {
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?"));
  const std::string_view path_and_query = rest.substr(authority.size());
  if (authority.find('@') != std::string_view::npos) {
    return refuse(400, "The target must not carry a user's name or password.");
  }
  if (!parse_host(authority)) return refuse(400, "The target's host is malformed.");
  if (!equal_ignoring_case(scheme, "http")) {
    return refuse(421, "Only targets of the scheme http are answered here, and this is no proxy for others.");
  }
  // RFC 9112, 3.2.4: OPTIONS of a whole server.
  if (path_and_query.empty() && method == "OPTIONS") return {{authority, "*"}};
  std::string full(path_and_query);
  if (!full.starts_with('/')) full.insert(full.begin(), '/');
  return {{authority, full}};
}

}  // namespace

TargetResult parse_target(std::string_view method, std::string_view target) {
  if (method == "CONNECT") return refuse(501, "This is no proxy; CONNECT is not available.");
  if (target == "*" && method == "OPTIONS") return {{{}, "*"}};
  if (target.find('#') != std::string_view::npos) return refuse(400, "The target must not have a fragment.");
  if (target.starts_with('/')) return {{{}, std::string(target)}};
  const std::size_t scheme_end = target.find("://");
  if (scheme_end == std::string_view::npos || !is_scheme(target.substr(0, scheme_end))) {
    return refuse(400, "The target must be a path, such as /v1/models.");
  }
  return parse_absolute(method, target.substr(0, scheme_end), target.substr(scheme_end + 3));
}

}  // namespace sinkstream
