// What a request's head (request line and header fields) must look like, checked on its raw bytes: stricter
// than general parsers, because two readers of one message must never disagree about where it ends.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace sinkstream {

struct HeadLimits {
  std::size_t max_bytes = 65536;
  std::size_t max_target_bytes = 8192;
  std::size_t max_fields = 128;
};

struct HeadRefusal {
  int status = 400;
  std::string reason;
};

// Looks for the end of a head in bytes as they arrive and refuses early what can no longer become one.
class HeadScanner {
 public:
  explicit HeadScanner(const HeadLimits& limits) : limits_(limits) {}

  struct Result {
    std::size_t head_bytes = 0;  // > 0: the head is complete, this long including its empty line
    std::optional<HeadRefusal> refusal = {};
  };
  // `buffer` begins with the same bytes at each call.
  Result scan(std::string_view buffer);

 private:
  Result complete_or_too_large(std::string_view buffer, std::size_t head_bytes) const;

  HeadLimits limits_;
  std::size_t scanned_ = 0;
};

// `head` as HeadScanner found it. nullopt: well formed.
std::optional<HeadRefusal> check_request_head(std::string_view head, const HeadLimits& limits = {});

// RFC 9110, 5.6.2
bool is_token_char(char c);
// RFC 3986, 3.1: of a URI, such as "http".
bool is_scheme(std::string_view text);

// The path of a request target, percent-decoded; nullopt for a bad escape, a control character or invalid
// UTF-8.
std::optional<std::string> decode_path(std::string_view target);

// "name", "1.2.3.4" or "[::1]", each with an optional ":port".
struct HostAndPort {
  std::string_view host;  // IPv6 with its brackets
  std::string_view port;  // digits, may be empty
};
std::optional<HostAndPort> parse_host(std::string_view text);

}  // namespace sinkstream
