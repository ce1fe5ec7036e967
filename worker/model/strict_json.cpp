#include "worker/model/strict_json.h"

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "worker/error.h"

namespace sinkstream {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;
constexpr std::size_t kMaxQuoted = 200;

// The parser's message without its "[json.exception.parse_error.101] parse error " in front.
std::string reason_of(const json::exception& error) {
  const std::string_view message = error.what();
  const auto end_of_tag = message.find("] ");
  return printable(end_of_tag == std::string_view::npos ? message : message.substr(end_of_tag + 2));
}

}  // namespace

json parse_strict_json(std::string_view text, const std::string& file) {
  std::vector<std::unordered_set<std::string>> keys_of_open_objects;
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > kMaxDepth) throw StartupError(ExitCode::model, file + ": nested too deeply");
    if (event == json::parse_event_t::object_start) keys_of_open_objects.emplace_back();
    if (event == json::parse_event_t::object_end) keys_of_open_objects.pop_back();
    if (event == json::parse_event_t::key &&
        !keys_of_open_objects.back().insert(parsed.get_ref<const std::string&>()).second) {
      throw StartupError(
          ExitCode::model,
          file + ": the key " + in_quotes(parsed.get_ref<const std::string&>()) + " stands there twice");
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), check);
  } catch (const json::exception& error) {
    throw StartupError(ExitCode::model, file + ": not valid JSON: " + reason_of(error));
  }
}

std::string printable(std::string_view text) {
  std::string clean(text.substr(0, kMaxQuoted));
  std::replace_if(
      clean.begin(), clean.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return text.size() > kMaxQuoted ? clean + "..." : clean;
}

std::string in_quotes(std::string_view name) {
  return '"' + printable(name) + '"';
}

}  // namespace sinkstream
