#include "coordinator/http/server_settings.h"

#include <fmt/format.h>

#include "coordinator/http/request_head.h"
#include "worker/error.h"

namespace sinkstream {
namespace {

// NaN is in no range.
void check_range(const char* key, double value, double low, double high) {
  if (value >= low && value <= high) return;
  throw StartupError(ExitCode::config,
                     fmt::format("server.{}: {} is not between {} and {}", key, value, low, high));
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
  for (const std::string& host : settings.allowed_hosts) {
    const std::string problem = allowed_host_problem(host);
    if (!problem.empty())
      throw StartupError(ExitCode::config, fmt::format("server.allowed_hosts: '{}' {}", host, problem));
  }
  return settings;
}

std::string allowed_host_problem(const std::string& item) {
  const auto parsed = parse_host(item);
  if (item == "*" || (parsed && parsed->host.size() == item.size())) return "";
  return "is not a host name; write it without scheme and port, e.g. chat.example.org";
}

}  // namespace sinkstream
