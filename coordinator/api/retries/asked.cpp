#include "coordinator/api/retries/asked.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <string_view>

#include "coordinator/api/sessions/session_request.h"
#include "coordinator/http/message/request_error.h"
#include "coordinator/store/sha256.h"

namespace sinkstream {
namespace {

constexpr std::string_view kSessions = "/v1/sessions";
constexpr std::size_t kMaxKeyBytes = 255;

std::string read_key(const Request& request) {
  const std::string_view key = request.header("idempotency-key");
  const bool is_visible = std::ranges::all_of(key, [](char c) { return c >= ' ' && c <= '~'; });
  if (key.size() <= kMaxKeyBytes && is_visible) return std::string(key);
  throw bad_request(
      fmt::format("The header Idempotency-Key may have up to {} characters, all of them visible "
                  "ASCII.",
                  kMaxKeyBytes),
      "Idempotency-Key");
}

std::optional<std::int64_t> read_retry_count(const Request& request) {
  const std::string_view text = request.header("x-stainless-retry-count");
  std::int64_t count = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (failure != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return count;
}

bool has(const nlohmann::ordered_json& body, const char* name) {
  const auto found = body.find(name);
  return found != body.end() && !found->is_null();
}

}  // namespace

Asked read_asked(const Request& request, const std::string& owner, const std::string& body_text,
                 const nlohmann::ordered_json& body, bool reads_expected_seen) {
  Asked asked{.changes_sessions = request.path.starts_with(kSessions),
              .owner = owner,
              .body_bytes = body_text.size(),
              .key = read_key(request),
              .session = session_id_in(request.path),
              .expects_seen = reads_expected_seen && has(body, "expected_seen"),
              .retry_count = read_retry_count(request)};
  const auto session = body.find("session");
  if (asked.session.empty() && session != body.end() && session->is_string()) {
    asked.session = session->get<std::string>();
    asked.changes_sessions = true;
  }
  if (asked.changes_sessions) asked.fingerprint = to_hex(sha256(request.path + '\n' + body_text));
  return asked;
}

}  // namespace sinkstream
