#include "coordinator/http/server_settings.h"

#include <fmt/format.h>

#include "base/error.h"
#include "coordinator/http/access/client_address.h"
#include "coordinator/http/access/cross_origin.h"
#include "coordinator/http/message/request_head.h"

namespace sinkstream {
namespace {

// NaN is in no range.
void check_range(const char* key, double value, double low, double high) {
  if (value >= low && value <= high) return;
  throw StartupError(ExitCode::config,
                     fmt::format("server.{}: {} is not between {} and {}", key, value, low, high));
}

void check_items(const char* key, const std::vector<std::string>& items,
                 std::string (*problem_of)(const std::string&)) {
  for (const std::string& item : items) {
    const std::string problem = problem_of(item);
    if (problem.empty()) continue;
    throw StartupError(ExitCode::config, fmt::format("server.{}: '{}' {}", key, item, problem));
  }
}

}  // namespace

ServerSettings checked(const ServerSettings& settings) {
  constexpr double kMaxBytes = 1e12;
  constexpr double kMinSeconds = 0.001;
  constexpr double kMaxSeconds = 1e6;
  check_range("max_body_bytes", static_cast<double>(settings.max_body_bytes), 1, kMaxBytes);
  check_range("max_header_bytes", static_cast<double>(settings.max_header_bytes), 1024, 16777216);
  check_range("max_connections", static_cast<double>(settings.max_connections), 1, 1e6);
  check_range("max_live_prompt_tokens", static_cast<double>(settings.max_live_prompt_tokens), 1, kMaxBytes);
  check_range("max_stream_buffer_bytes", static_cast<double>(settings.max_stream_buffer_bytes), 1, kMaxBytes);
  check_range("header_seconds", settings.header_seconds, kMinSeconds, kMaxSeconds);
  check_range("body_seconds", settings.body_seconds, kMinSeconds, kMaxSeconds);
  check_range("idle_seconds", settings.idle_seconds, kMinSeconds, kMaxSeconds);
  check_range("stall_seconds", settings.stall_seconds, kMinSeconds, kMaxSeconds);
  check_range("ping_seconds", settings.ping_seconds, kMinSeconds, kMaxSeconds);
  check_range("drain_seconds", settings.drain_seconds, 0, kMaxSeconds);
  check_items("allowed_origins", settings.allowed_origins, allowed_origin_problem);
  check_items("trusted_proxies", settings.trusted_proxies, trusted_proxy_problem);
  check_items("allowed_hosts", settings.allowed_hosts, allowed_host_problem);
  return settings;
}

std::string allowed_origin_problem(const std::string& item) {
  if (item == "*" || normal_origin(item)) return "";
  return "is not an origin; write scheme, host and port without a path, e.g. https://chat.example.org";
}

std::string allowed_host_problem(const std::string& item) {
  const auto parsed = parse_host(item);
  if (item == "*" || (parsed && parsed->host.size() == item.size())) return "";
  return "is not a host name; write it without scheme and port, e.g. chat.example.org";
}

}  // namespace sinkstream
