#include "text/jinja/values/value.h"

#include <algorithm>
#include <cmath>

#include "text/jinja/values/strings.h"

namespace sinkstream::jinja {

std::optional<Value> Object::attribute(std::string_view) const {
  return std::nullopt;
}

Value Object::call(Interpreter&, const Arguments&) const {
  return {};
}

Generator::Generator(const Sequence& items) : items_(items.items), depth_(items.depth) {}

std::optional<Value> Generator::take_next() {
  if (taken_ == items_.size()) return std::nullopt;
  return items_[taken_++];
}

std::vector<Value> Generator::take_rest() {
  std::vector<Value> rest(items_.begin() + static_cast<std::ptrdiff_t>(taken_), items_.end());
  taken_ = items_.size();
  return rest;
}

Value Value::undefined(std::string message) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(message))};
  return value;
}

namespace {

std::int64_t add_weights(std::int64_t a, std::int64_t b) {
  constexpr std::int64_t kMost = INT64_MAX / 4;
  return std::min(kMost, a + b);
}

Value make_sequence(std::vector<Value> items, bool tuple) {
  int depth = 0;
  std::int64_t weight = 1;
  for (const Value& item : items) {
    depth = std::max(depth, item.depth());
    weight = add_weights(weight, item.weight());
  }
  return std::make_shared<const Sequence>(Sequence{std::move(items), tuple, depth + 1, weight});
}

}  // namespace

Value Value::list(std::vector<Value> items) {
  return make_sequence(std::move(items), false);
}

Value Value::tuple(std::vector<Value> items) {
  return make_sequence(std::move(items), true);
}

bool Value::truth() const {
  if (is_none() || is_undefined()) return false;
  if (is_boolean()) return boolean();
  if (is_integer()) return integer() != 0;
  if (is_real()) return real() != 0;
  if (is_string()) return !string().empty();
  if (is_sequence()) return !sequence().items.empty();
  if (is_mapping()) return !mapping().entries().empty();
  return true;
}

std::string Value::type_name() const {
  if (is_none()) return "NoneType";
  if (is_undefined()) return "Undefined";
  if (is_boolean()) return "bool";
  if (is_integer()) return "int";
  if (is_real()) return "float";
  if (is_string()) return "str";
  if (is_sequence()) return sequence().tuple ? "tuple" : "list";
  if (is_mapping()) return "dict";
  return object()->type_name();
}

int Value::depth() const {
  if (is_sequence()) return sequence().depth;
  if (is_mapping()) return mapping().depth();
  return is_object() ? object()->depth() : 0;
}

std::int64_t Value::weight() const {
  if (is_string()) return static_cast<std::int64_t>(string().size()) + 1;
  if (is_sequence()) return sequence().weight;
  if (is_mapping()) return mapping().weight();
  return 1;
}

bool Value::same_object(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_string()) return std::get<String>(data_) == std::get<String>(other.data_);
  if (is_sequence()) return &sequence() == &other.sequence();
  if (is_mapping()) return &mapping() == &other.mapping();
  if (is_object()) return object() == other.object();
  return !is_undefined() && equal(*this, other);
}

namespace {

// The same text for keys that are equal: 1, 1.0 and true.
std::string key_text(const Value& key) {
  if (key.is_none()) return "none";
  if (key.is_undefined()) return "undefined";
  if (key.is_string()) return std::to_string(key.string().size()) + ":" + key.string();
  if (key.is_sequence()) {
    std::string text = "(";
    for (const Value& item : key.sequence().items) text += key_text(item) + ",";
    return text += ")";
  }
  const bool whole =
      !key.is_real() || (key.real() >= -9e18 && key.real() <= 9e18 && key.real() == std::trunc(key.real()));
  if (whole) return std::to_string(key.is_real() ? static_cast<std::int64_t>(key.real()) : key.integer());
  return format_real(key.real());
}

}  // namespace

bool can_be_key(const Value& value) {
  if (!value.is_sequence()) return !value.is_mapping() && !value.is_object();
  const auto& items = value.sequence().items;
  return value.sequence().tuple && std::all_of(items.begin(), items.end(), can_be_key);
}

void Mapping::set(const Value& key, Value value) {
  depth_ = std::max({depth_, key.depth() + 1, value.depth() + 1});
  weight_ = add_weights(weight_, add_weights(key.weight(), value.weight()));
  auto& index = key.is_string() ? by_name_ : by_value_;
  const auto [entry, is_new] =
      index.try_emplace(key.is_string() ? key.string() : key_text(key), entries_.size());
  if (is_new) {
    entries_.emplace_back(key, std::move(value));
  } else {
    entries_[entry->second].second = std::move(value);
  }
}

const Value* Mapping::find(const Value& key) const {
  if (key.is_string()) return find(std::string_view(key.string()));
  if (!can_be_key(key)) return nullptr;
  const auto found = by_value_.find(key_text(key));
  return found == by_value_.end() ? nullptr : &entries_[found->second].second;
}

const Value* Mapping::find(std::string_view key) const {
  const auto found = by_name_.find(std::string(key));
  return found == by_name_.end() ? nullptr : &entries_[found->second].second;
}

namespace {

bool equal_mappings(const Mapping& a, const Mapping& b) {
  if (a.entries().size() != b.entries().size()) return false;
  return std::all_of(a.entries().begin(), a.entries().end(), [&b](const Mapping::Entry& entry) {
    const Value* other = b.find(entry.first);
    return other != nullptr && equal(entry.second, *other);
  });
}

template <typename T>
int order(const T& a, const T& b) {
  return a < b ? -1 : b < a ? 1 : 0;
}

}  // namespace

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_real() || b.is_real()) return a.real() == b.real();
    return a.integer() == b.integer();
  }
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_sequence() && b.is_sequence()) {
    return a.sequence().tuple == b.sequence().tuple &&
           std::equal(a.sequence().items.begin(), a.sequence().items.end(), b.sequence().items.begin(),
                      b.sequence().items.end(), equal);
  }
  if (a.is_mapping() && b.is_mapping()) return equal_mappings(a.mapping(), b.mapping());
  if (a.is_object() && b.is_object()) return a.object() == b.object();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

std::optional<int> compare(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_real() || b.is_real()) return order(a.real(), b.real());
    return order(a.integer(), b.integer());
  }
  if (a.is_string() && b.is_string()) return order(a.string(), b.string());
  if (!a.is_sequence() || !b.is_sequence() || a.sequence().tuple != b.sequence().tuple) return std::nullopt;
  const auto& left = a.sequence().items;
  const auto& right = b.sequence().items;
  for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
    if (!equal(left[i], right[i])) return compare(left[i], right[i]);
  }
  return order(left.size(), right.size());
}

}  // namespace sinkstream::jinja
