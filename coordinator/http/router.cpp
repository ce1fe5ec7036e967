#include "coordinator/http/router.h"

namespace sinkstream {
namespace {

bool matches(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with("/*")) return pattern == path;
  pattern.remove_suffix(1);
  return path.size() > pattern.size() && path.starts_with(pattern);
}

}  // namespace

void Router::add(Route route) {
  routes_.push_back(std::move(route));
}

Router::Match Router::find(std::string_view method, std::string_view path) const {
  Match match;
  for (const Route& route : routes_) {
    if (!matches(route.path, path)) continue;
    match.on_path = &route;
    if (method == route.method || (method == "HEAD" && route.method == "GET")) match.route = &route;
    match.allow += route.method == "GET" ? "GET, HEAD, " : route.method + ", ";
  }
  if (!match.allow.empty()) match.allow += "OPTIONS";
  return match;
}

}  // namespace sinkstream
