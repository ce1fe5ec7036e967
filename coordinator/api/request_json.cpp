#include "coordinator/api/request_json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "coordinator/http/request_error.h"

namespace sinkstream {
namespace {

using nlohmann::json;

// Errors quote what the client sent, but not megabytes of it.
constexpr std::size_t kMaxQuotedBytes = 200;

RequestError invalid_json(const std::string& message, const std::string& key = {}) {
  return bad_request(message.substr(0, kMaxQuotedBytes), key.substr(0, kMaxQuotedBytes), "invalid_json");
}

// The parser's message without its own prefix: "parse error at line 1, column 9: ...".
std::string readable(const json::exception& error) {
  const std::string text = error.what();
  const std::size_t prefix = text.find("] ");
  return prefix == std::string::npos ? text : text.substr(prefix + 2);
}

}  // namespace

json parse_request_json(std::string_view body) {
  std::vector<std::set<std::string>> keys_of_open_objects;
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
        keys_of_open_objects.emplace_back();
        [[fallthrough]];
      case json::parse_event_t::array_start:
        if (depth >= kMaxJsonDepth) {
          throw invalid_json("The JSON is nested deeper than " + std::to_string(kMaxJsonDepth) + " levels.");
        }
        break;
      case json::parse_event_t::key:
        if (!keys_of_open_objects.back().insert(parsed.get<std::string>()).second) {
          throw invalid_json("A key comes twice in one object.", parsed.get<std::string>());
        }
        break;
      case json::parse_event_t::object_end:
        keys_of_open_objects.pop_back();
        break;
      default:
        break;
    }
    return true;
  };
  // The parser takes a NUL for the end of its input.
  if (body.find('\0') != std::string_view::npos) throw invalid_json("The body contains a NUL byte.");
  json value;
  try {
    value = json::parse(body, check);
  } catch (const json::exception& error) {
    throw invalid_json("The body is not valid JSON: " + readable(error));
  }
  if (!value.is_object()) throw bad_request("The body must be a JSON object.", {}, "invalid_type");
  return value;
}

}  // namespace sinkstream
