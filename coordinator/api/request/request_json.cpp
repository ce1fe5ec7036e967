#include "coordinator/api/request/request_json.h"

#include <nlohmann/json.hpp>
#include <string>

#include "base/json_builder.h"
#include "coordinator/http/message/request_error.h"

namespace sinkstream {
namespace {

using json = nlohmann::ordered_json;

// Errors quote what the client sent, but not megabytes of it.
constexpr std::size_t kMaxQuotedBytes = 200;

RequestError invalid_json(const std::string& message, const std::string& key = {}) {
  return bad_request(message.substr(0, kMaxQuotedBytes), key.substr(0, kMaxQuotedBytes), "invalid_json");
}

class Builder final : public JsonBuilder<json> {
 public:
  Builder() : JsonBuilder(static_cast<std::size_t>(kMaxJsonDepth)) {}

 private:
  void refuse_repeated_key(const std::string& key) override {
    throw invalid_json("A key comes twice in one object.", key);
  }
  void refuse_depth() override {
    throw invalid_json("The JSON is nested deeper than " + std::to_string(kMaxJsonDepth) + " levels.");
  }
  void refuse_syntax(const std::string& message) override {
    throw invalid_json("The body is not valid JSON: " + message);
  }
};

}  // namespace

json parse_request_json(std::string_view body) {
  // The parser takes a NUL for the end of its input.
  if (body.find('\0') != std::string_view::npos) throw invalid_json("The body contains a NUL byte.");
  Builder builder;
  json::sax_parse(body, &builder);
  json value = builder.take();
  if (!value.is_object()) throw bad_request("The body must be a JSON object.", {}, "invalid_type");
  return value;
}

}  // namespace sinkstream
