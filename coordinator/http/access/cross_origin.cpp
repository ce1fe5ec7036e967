#include "coordinator/http/access/cross_origin.h"

#include <algorithm>

#include "coordinator/http/message/request_head.h"

namespace sinkstream {
namespace {

// Browsers keep an answer for at most two hours (Chromium) or a day (Firefox).
constexpr const char* kMaxAgeSeconds = "7200";
constexpr const char* kReadableHeaders =
    "x-request-id, x-sinkstream-warning, Idempotent-Replayed, Retry-After, x-ratelimit-limit-tokens, "
    "x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens";

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  return result;
}

// Names of header fields and commas: may stand in an answer.
bool is_list_of_names(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c == ',' || c == ' ' || is_token_char(c); });
}

}  // namespace

std::optional<std::string> normal_origin(std::string_view text) {
  if (text == "null") return "null";
  const std::size_t scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos || !is_scheme(text.substr(0, scheme_end))) return std::nullopt;
  const std::string scheme = lower(text.substr(0, scheme_end));
  const auto host = parse_host(text.substr(scheme_end + 3));
  if (!host) return std::nullopt;
  const bool default_port = host->port.empty() || (scheme == "http" && host->port == "80") ||
                            (scheme == "https" && host->port == "443");
  std::string origin = scheme + "://";
  origin += lower(host->host);
  if (!default_port) (origin += ':') += host->port;
  return origin;
}

bool is_preflight(const Request& request) {
  return request.method == "OPTIONS" && !request.header("origin").empty() &&
         !request.header("access-control-request-method").empty();
}

CrossOriginPolicy::CrossOriginPolicy(const std::vector<std::string>& allowed_origins) {
  for (const std::string& item : allowed_origins) {
    if (item == "*") any_ = true;
    if (const auto origin = normal_origin(item)) origins_.push_back(*origin);
  }
}

bool CrossOriginPolicy::allows(std::string_view origin) const {
  if (any_) return true;
  const auto normal = normal_origin(origin);
  return normal && std::ranges::find(origins_, *normal) != origins_.end();
}

std::vector<Header> CrossOriginPolicy::answer_headers(const Request& request) const {
  if (!any_ && origins_.empty()) return {};
  std::vector<Header> headers;
  if (!any_) headers.push_back({"Vary", "Origin"});
  const std::string_view origin = request.header("origin");
  if (origin.empty() || !allows(origin)) return headers;
  headers.push_back({"Access-Control-Allow-Origin", any_ ? "*" : std::string(origin)});
  headers.push_back({"Access-Control-Expose-Headers", kReadableHeaders});
  return headers;
}

Response CrossOriginPolicy::preflight_answer(const Request& request, const std::string& allow) const {
  Response answer{204, "", "", {{"Allow", allow}}};
  if (!allows(request.header("origin"))) return answer;
  answer.headers.push_back({"Access-Control-Allow-Methods", allow});
  answer.headers.push_back({"Access-Control-Max-Age", kMaxAgeSeconds});
  // Named one by one: a "*" would not stand for Authorization.
  const std::string_view asked = request.header("access-control-request-headers");
  if (!asked.empty() && is_list_of_names(asked)) {
    answer.headers.push_back({"Access-Control-Allow-Headers", std::string(asked)});
  }
  if (request.header("access-control-request-private-network") == "true") {
    answer.headers.push_back({"Access-Control-Allow-Private-Network", "true"});
  }
  answer.headers.push_back({"Vary", "Access-Control-Request-Method, Access-Control-Request-Headers"});
  return answer;
}

}  // namespace sinkstream
