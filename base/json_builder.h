// Builds a JSON value from the parser's events, refusing what the library lets pass: keys that come twice,
// and deep nesting. Linear in the text, whichever kind of object `Json` has, where the library's own
// callbacks are not.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace sinkstream {

template <typename Json>
class JsonBuilder : public nlohmann::json_sax<Json> {
 public:
  explicit JsonBuilder(std::size_t max_depth) : max_depth_(max_depth) {}
  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(typename Json::number_integer_t value) override { return add(value); }
  bool number_unsigned(typename Json::number_unsigned_t value) override { return add(value); }
  bool number_float(typename Json::number_float_t value, const std::string&) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(typename Json::binary_t& value) override { return add(std::move(value)); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& key) override {
    if (!open_.back().keys.insert(key).second) refuse_repeated_key(key);
    open_.back().next_key = std::move(key);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    // Without its "[json.exception.parse_error.101] " in front.
    const std::string text = error.what();
    const std::size_t prefix = text.find("] ");
    refuse_syntax(prefix == std::string::npos ? text : text.substr(prefix + 2));
    return false;
  }

 protected:
  [[noreturn]] virtual void refuse_repeated_key(const std::string& key) = 0;
  [[noreturn]] virtual void refuse_depth() = 0;
  [[noreturn]] virtual void refuse_syntax(const std::string& message) = 0;

 private:
  struct Container {
    Json* value;  // stays where it is: nothing is added around it while it is open
    std::unordered_set<std::string> keys;
    std::string next_key;
  };

  Json& place(Json value) {
    if (open_.empty()) return root_ = std::move(value);
    Container& parent = open_.back();
    if (parent.value->is_array()) return parent.value->emplace_back(std::move(value));
    auto& members = parent.value->template get_ref<typename Json::object_t&>();
    if constexpr (requires { members.emplace_back(parent.next_key, value); }) {
      return members.emplace_back(std::move(parent.next_key), std::move(value))
          .second;  // in the order they came
    } else {
      return members.emplace(std::move(parent.next_key), std::move(value)).first->second;
    }
  }

  bool add(Json value) {
    place(std::move(value));
    return true;
  }

  bool open(Json container) {
    if (open_.size() >= max_depth_) refuse_depth();
    Json& value = place(std::move(container));
    open_.push_back({&value, {}, {}});
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  const std::size_t max_depth_;
  Json root_;
  std::vector<Container> open_;
};

}  // namespace sinkstream
