#include "coordinator/http/router.h"

#include <spdlog/spdlog.h>

#include <exception>
#include <set>

namespace sinkstream {
namespace {

bool matches(std::string_view pattern, std::string_view path) {
  if (const auto id = pattern.find(":id"); id != pattern.npos) {
    const std::string_view before = pattern.substr(0, id);
    const std::string_view behind = pattern.substr(id + std::string_view(":id").size());
    if (path.size() <= before.size() + behind.size()) return false;
    const std::string_view segment = path.substr(before.size(), path.size() - before.size() - behind.size());
    return path.starts_with(before) && path.ends_with(behind) && segment.find('/') == segment.npos;
  }
  if (!pattern.ends_with("/*")) return pattern == path;
  pattern.remove_suffix(1);
  return path.size() > pattern.size() && path.starts_with(pattern);
}

std::string as_allowed(const std::string& method) {
  return method == "GET" ? "GET, HEAD, " : method + ", ";
}

}  // namespace

void run_handler(const Handler& handler, const std::shared_ptr<Exchange>& exchange) {
  try {
    handler(exchange);
  } catch (const RequestError& error) {
    exchange->fail(error);
  } catch (const std::exception& error) {
    const Request& request = exchange->request();
    spdlog::error("{} {} {} failed: {}", request.id, request.method, request.target, error.what());
    exchange->fail(internal_error());
  }
}

void Router::add(Route route) {
  routes_.push_back(std::move(route));
}

Router::Match Router::find(std::string_view method, std::string_view path) const {
  Match match;
  for (const Route& route : routes_) {
    if (!matches(route.path, path)) continue;
    match.on_path = &route;
    if (method == route.method || (method == "HEAD" && route.method == "GET")) match.route = &route;
    match.allow += as_allowed(route.method);
  }
  if (!match.allow.empty()) match.allow += "OPTIONS";
  return match;
}

std::string Router::allow_of_all() const {
  std::set<std::string> methods;
  for (const Route& route : routes_) methods.insert(route.method);
  std::string allow;
  for (const std::string& method : methods) allow += as_allowed(method);
  return allow + "OPTIONS";
}

}  // namespace sinkstream
