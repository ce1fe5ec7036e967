// A request's body as JSON: strict, and within bounds.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace sinkstream {

inline constexpr int kMaxJsonDepth = 64;

// Throws RequestError (400): not JSON, invalid UTF-8, numbers no double can hold, a key that comes twice,
// nesting deeper than kMaxJsonDepth, or anything but an object at the top. Keys keep their order: a chat
// template may print them.
nlohmann::ordered_json parse_request_json(std::string_view body);

}  // namespace sinkstream
