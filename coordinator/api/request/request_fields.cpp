#include "coordinator/api/request/request_fields.h"

#include <fmt/format.h>

#include <cmath>

namespace sinkstream {
namespace {

using json = nlohmann::ordered_json;

RequestError wrong_type(const std::string& name, const char* wanted, const json& value) {
  const std::string found = value.is_number() ? value.dump() : value.type_name();
  return bad_request(fmt::format("'{}' must be {}, not {}.", name, wanted, found), name, "invalid_type");
}

bool is_whole(const json& value) {
  if (value.is_number_integer()) return true;
  return value.is_number_float() && std::trunc(value.get<double>()) == value.get<double>();
}

// No value: an int64 does not hold it.
std::optional<std::int64_t> whole_number(const json& whole) {
  constexpr double kEnd = 0x1p63;
  if (whole.is_number_float()) {
    const auto number = whole.get<double>();
    if (number < -kEnd || number >= kEnd) return std::nullopt;
    return static_cast<std::int64_t>(number);
  }
  const bool too_large = whole.is_number_unsigned() &&
                         whole.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()};
  return too_large ? std::nullopt : std::optional(whole.get<std::int64_t>());
}

std::string describe(const NumberRange& range) {
  return fmt::format("{} {} and at most {}", range.above_low ? "above" : "at least", range.low, range.high);
}

}  // namespace

std::int64_t integer_value(const json& value, std::int64_t low, std::int64_t high, const std::string& name) {
  if (!is_whole(value)) throw wrong_type(name, "an integer", value);
  const auto number = whole_number(value);
  if (!number || *number < low || *number > high) {
    throw bad_request(
        fmt::format("'{}' must be at least {} and at most {}; it is {}.", name, low, high, value.dump()),
        name);
  }
  return *number;
}

double number_value(const json& value, const NumberRange& range, const std::string& name) {
  if (!value.is_number()) throw wrong_type(name, "a number", value);
  const double number = value.get<double>();
  const bool low_enough = number <= range.high;
  const bool high_enough = range.above_low ? number > range.low : number >= range.low;
  if (!std::isfinite(number) || !low_enough || !high_enough) {
    throw bad_request(fmt::format("'{}' must be {}; it is {}.", name, describe(range), value.dump()), name);
  }
  return number;
}

std::vector<TokenId> token_id_values(const json& array, std::int64_t vocab_size, const std::string& name) {
  std::vector<TokenId> tokens;
  tokens.reserve(array.size());
  for (const json& id : array) {
    const bool is_plain = id.is_number_integer() && id >= 0 && id < vocab_size;  // without making its name
    tokens.push_back(is_plain ? id.get<TokenId>()
                              : static_cast<TokenId>(integer_value(
                                    id, 0, vocab_size - 1, fmt::format("{}[{}]", name, tokens.size()))));
  }
  return tokens;
}

RequestFields::RequestFields(const json& object, std::string path)
    : object_(object), path_(std::move(path)) {}

RequestError RequestFields::error(std::string_view name, const std::string& message, const char* code) const {
  return bad_request(message, path_ + std::string(name), code);
}

const json* RequestFields::value(const char* name) {
  known_.insert(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<bool> RequestFields::boolean(const char* name) {
  const json* field = value(name);
  if (!field) return std::nullopt;
  if (!field->is_boolean()) throw wrong_type(path_ + name, "a boolean", *field);
  return field->get<bool>();
}

std::optional<std::int64_t> RequestFields::integer(const char* name, std::int64_t low, std::int64_t high) {
  const json* field = value(name);
  if (!field) return std::nullopt;
  return integer_value(*field, low, high, path_ + name);
}

std::optional<double> RequestFields::number(const char* name, const NumberRange& range) {
  const json* field = value(name);
  if (!field) return std::nullopt;
  return number_value(*field, range, path_ + name);
}

std::optional<std::string> RequestFields::string(const char* name) {
  const json* field = value(name);
  if (!field) return std::nullopt;
  if (!field->is_string()) throw wrong_type(path_ + name, "a string", *field);
  return field->get<std::string>();
}

std::optional<RequestFields> RequestFields::object(const char* name) {
  const json* field = value(name);
  if (!field) return std::nullopt;
  if (!field->is_object()) throw wrong_type(path_ + name, "an object", *field);
  return RequestFields(*field, path_ + name + ".");
}

const json* RequestFields::array(const char* name) {
  const json* field = value(name);
  if (field && !field->is_array()) throw wrong_type(path_ + name, "an array", *field);
  return field;
}

void RequestFields::ignore(std::initializer_list<const char*> names) {
  known_.insert(names.begin(), names.end());
}

void RequestFields::refuse_unless(const char* name, const json& off) {
  const json* field = value(name);
  if (field && *field != off) {
    const std::string instead = off.is_null() ? "" : "; leave it out or send " + off.dump();
    throw error(name, fmt::format("'{}{}' is not supported{}.", path_, name, instead),
                "unsupported_parameter");
  }
}

void RequestFields::refuse(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const json* field = value(name);
    const bool is_empty = field && ((field->is_structured() && field->empty()) || *field == "");
    if (!is_empty) refuse_unless(name, nullptr);
  }
}

std::vector<std::string> RequestFields::unknown() const {
  std::vector<std::string> names;
  for (const auto& item : object_.items()) {
    if (!known_.contains(item.key())) names.push_back(item.key());
  }
  return names;
}

}  // namespace sinkstream
