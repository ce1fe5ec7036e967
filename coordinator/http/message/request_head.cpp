#include "coordinator/http/message/request_head.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <vector>

#include "coordinator/http/message/message.h"
#include "coordinator/http/message/request_target.h"
#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

constexpr std::size_t kMaxMethodBytes = 32;
constexpr std::size_t kMaxContentLengthDigits = 18;  // always fits 63 bits

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool is_alpha(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_control(char c) {
  return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
}
bool is_visible(char c) {
  return c > 0x20 && c < 0x7f;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char);
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

bool is_port(std::string_view text) {
  return all_digits(text) && text.size() <= 5 && std::stoi(std::string(text)) <= 65535;
}

std::string_view trim(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::optional<HeadRefusal> refuse(int status, std::string reason) {
  return HeadRefusal{status, std::move(reason)};
}

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  return (c | 0x20) - 'a' + 10;
}

// method SP target SP version
std::optional<HeadRefusal> check_request_line(std::string_view line, const HeadLimits& limits) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return refuse(400, "The request line must be: method, target, version.");
  }
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(method) || method.size() > kMaxMethodBytes) return refuse(400, "The method is malformed.");
  if (target.size() > limits.max_target_bytes) {
    return refuse(414, "The target is longer than " + std::to_string(limits.max_target_bytes) + " bytes.");
  }
  if (!std::all_of(target.begin(), target.end(), is_visible)) return refuse(400, "The target is malformed.");
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    return refuse(400, "Only HTTP/1.1 and HTTP/1.0 are spoken here.");
  }
  const TargetResult parsed = parse_target(method, target);
  if (parsed.refusal) return parsed.refusal;
  if (!decode_path(parsed.target.path_and_query))
    return refuse(400, "The path is not percent-encoded UTF-8 without control characters.");
  return std::nullopt;
}

struct Field {
  std::string_view name;
  std::string_view value;
};

std::optional<HeadRefusal> parse_field(std::string_view line, Field& field) {
  if (line.front() == ' ' || line.front() == '\t')
    return refuse(400, "Folded header lines are not accepted.");
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return refuse(400, "A header line has no colon.");
  field = {line.substr(0, colon), trim(line.substr(colon + 1))};
  if (!is_token(field.name)) return refuse(400, "A header name is malformed.");
  return std::nullopt;
}

// Fields that must not come twice: readers could each take another one.
constexpr std::array<std::string_view, 11> kSingleFields = {
    "host",           "content-length", "transfer-encoding", "content-type", "content-encoding",
    "origin",         "authorization",  "x-api-key",         "expect",       "x-request-id",
    "idempotency-key"};

std::optional<HeadRefusal> check_fields(const std::vector<Field>& fields, bool http_1_0) {
  std::array<const Field*, kSingleFields.size()> found = {};
  for (const Field& field : fields) {
    for (std::size_t i = 0; i < kSingleFields.size(); ++i) {
      if (!equal_ignoring_case(field.name, kSingleFields[i])) continue;
      if (found[i]) return refuse(400, "The header '" + std::string(kSingleFields[i]) + "' comes twice.");
      found[i] = &field;
    }
  }
  const auto [host, content_length, transfer_encoding] = std::tuple(found[0], found[1], found[2]);
  const Field* expect = found[8];
  if (!host && !http_1_0) return refuse(400, "The Host header is missing.");
  if (host && !parse_host(host->value)) return refuse(400, "The Host header is malformed.");
  if (content_length && transfer_encoding) {
    return refuse(400, "Content-Length and Transfer-Encoding must not come together.");
  }
  if (content_length &&
      (!all_digits(content_length->value) || content_length->value.size() > kMaxContentLengthDigits)) {
    return refuse(400, "The Content-Length is malformed.");
  }
  if (transfer_encoding && (http_1_0 || !equal_ignoring_case(transfer_encoding->value, "chunked"))) {
    return refuse(400, "The only Transfer-Encoding accepted is 'chunked', in HTTP/1.1.");
  }
  if (expect && !equal_ignoring_case(expect->value, "100-continue")) {
    return refuse(417, "The only expectation known is 100-continue.");
  }
  return std::nullopt;
}

}  // namespace

HeadScanner::Result HeadScanner::scan(std::string_view buffer) {
  for (std::size_t& i = scanned_; i < buffer.size(); ++i) {
    const char c = buffer[i];
    if (c == '\r') {
      if (i + 1 == buffer.size()) break;  // seen again with the next bytes
      if (buffer[i + 1] != '\n') return {0, refuse(400, "A carriage return stands alone.")};
    } else if (c == '\n') {
      if (i == 0 || buffer[i - 1] != '\r') return {0, refuse(400, "A line feed stands alone.")};
      if (i >= 3 && buffer[i - 2] == '\n') return complete_or_too_large(buffer, i + 1);
    } else if (is_control(c)) {
      return {0, refuse(400, "The head contains a control character; is this HTTP?")};
    }
  }
  return complete_or_too_large(buffer, 0);
}

HeadScanner::Result HeadScanner::complete_or_too_large(std::string_view buffer,
                                                       std::size_t head_bytes) const {
  const std::size_t first_line = std::min(buffer.find('\r'), buffer.size());
  if (first_line > limits_.max_target_bytes + kMaxMethodBytes + 16) {
    return {0,
            refuse(414, "The target is longer than " + std::to_string(limits_.max_target_bytes) + " bytes.")};
  }
  if (head_bytes > limits_.max_bytes || (head_bytes == 0 && buffer.size() >= limits_.max_bytes)) {
    return {0, refuse(431, "The head is longer than " + std::to_string(limits_.max_bytes) + " bytes.")};
  }
  return {head_bytes, std::nullopt};
}

std::optional<HeadRefusal> check_request_head(std::string_view head, const HeadLimits& limits) {
  HeadScanner scanner(limits);
  HeadScanner::Result scanned = scanner.scan(head);
  if (scanned.refusal) return scanned.refusal;
  if (scanned.head_bytes != head.size()) return refuse(400, "The head is not complete.");

  std::vector<Field> fields;
  std::string_view request_line;
  for (std::string_view rest = head; rest != "\r\n";) {
    const std::size_t end = rest.find("\r\n");
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 2);
    if (request_line.empty()) {
      if (auto refusal = check_request_line(line, limits)) return refusal;
      request_line = line;
      continue;
    }
    if (fields.size() == limits.max_fields) {
      return refuse(431, "There are more than " + std::to_string(limits.max_fields) + " header fields.");
    }
    Field field;
    if (auto refusal = parse_field(line, field)) return refusal;
    fields.push_back(field);
  }
  return check_fields(fields, request_line.ends_with("HTTP/1.0"));
}

bool is_token_char(char c) {
  return is_digit(c) || is_alpha(c) || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_scheme(std::string_view text) {
  return !text.empty() && is_alpha(text.front()) && std::ranges::all_of(text, [](char c) {
    return is_alpha(c) || is_digit(c) || c == '+' || c == '-' || c == '.';
  });
}

std::optional<std::string> decode_path(std::string_view target) {
  const std::string_view encoded = target.substr(0, target.find('?'));
  std::string path;
  path.reserve(encoded.size());
  for (std::size_t i = 0; i < encoded.size(); ++i) {
    char c = encoded[i];
    if (c == '%') {
      if (i + 2 >= encoded.size() || !is_hex(encoded[i + 1]) || !is_hex(encoded[i + 2])) return std::nullopt;
      c = static_cast<char>(hex_value(encoded[i + 1]) * 16 + hex_value(encoded[i + 2]));
      i += 2;
    }
    if (is_control(c) || c == '\t') return std::nullopt;
    path += c;
  }
  if (!is_valid_utf8(path)) return std::nullopt;
  return path;
}

std::optional<HostAndPort> parse_host(std::string_view text) {
  constexpr std::size_t kMaxHostBytes = 255;
  HostAndPort result;
  std::size_t end = text.find(':');
  if (text.starts_with('[')) {
    end = text.find(']');
    if (end == std::string_view::npos || end == 1) return std::nullopt;
    const std::string_view address = text.substr(1, end - 1);
    if (!std::all_of(address.begin(), address.end(),
                     [](char c) { return is_hex(c) || c == ':' || c == '.'; })) {
      return std::nullopt;
    }
    ++end;
  }
  result.host = text.substr(0, end);
  const std::string_view rest = end < text.size() ? text.substr(end) : std::string_view{};
  if (result.host.empty() || result.host.size() > kMaxHostBytes) return std::nullopt;
  if (!text.starts_with('[') && !std::all_of(result.host.begin(), result.host.end(), [](char c) {
        return is_digit(c) || is_alpha(c) || c == '-' || c == '.' || c == '_' || c == '~';
      })) {
    return std::nullopt;
  }
  if (rest.empty()) return result;
  result.port = rest.substr(1);
  if (rest.front() != ':' || (!result.port.empty() && !is_port(result.port))) return std::nullopt;
  return result;
}

}  // namespace sinkstream
