#include "coordinator/api/request_json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "coordinator/http/request_error.h"

namespace sinkstream {
namespace {

using json = nlohmann::ordered_json;

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

// Builds the value from the parser's events. The library's own builder looks through all of an ordered
// object's keys for each new one; here a million keys take no longer than they should.
class Builder final : public json::json_sax_t {
 public:
  json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t& value) override { return add(std::move(value)); }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& key) override {
    if (!open_.back().keys.insert(key).second) throw invalid_json("A key comes twice in one object.", key);
    open_.back().next_key = std::move(key);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const json::exception& error) override {
    throw invalid_json("The body is not valid JSON: " + readable(error));
  }

 private:
  struct Container {
    json* value;  // stays where it is: nothing is added around it while it is open
    std::set<std::string> keys;
    std::string next_key;
  };

  json& place(json value) {
    if (open_.empty()) return root_ = std::move(value);
    Container& parent = open_.back();
    if (parent.value->is_array()) return parent.value->emplace_back(std::move(value));
    auto& members = parent.value->get_ref<json::object_t&>();
    return members.emplace_back(std::move(parent.next_key), std::move(value)).second;
  }

  bool add(json value) {
    place(std::move(value));
    return true;
  }

  bool open(json container) {
    if (open_.size() >= static_cast<std::size_t>(kMaxJsonDepth))
      throw invalid_json("The JSON is nested deeper than " + std::to_string(kMaxJsonDepth) + " levels.");
    json& value = place(std::move(container));
    open_.push_back({&value, {}, {}});
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  json root_;
  std::vector<Container> open_;
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
