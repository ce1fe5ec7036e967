// The forms of a request target (RFC 9112, 3.2): "/path?query", "http://host:port/path?query", and "*".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "coordinator/http/message/request_head.h"

namespace sinkstream {

struct RequestTarget {
  std::string_view authority;  // of the absolute form, "host" or "host:port"; else empty
  std::string path_and_query;  // begins with '/', or is "*"
};

// What the target means for a method; or why it is refused: 400 for what is none, 421 for another scheme's,
// 501 for CONNECT.
struct TargetResult {
  RequestTarget target = {};
  std::optional<HeadRefusal> refusal = {};
};
TargetResult parse_target(std::string_view method, std::string_view target);

}  // namespace sinkstream
