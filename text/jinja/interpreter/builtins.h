// What templates can call: filters, tests, methods and functions, each by its name.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja/values/value.h"

namespace sinkstream::jinja {

// `subject` is what the filter, test or method is applied to.
using Builtin = Value (*)(Interpreter& interpreter, const Value& subject, const Arguments& arguments);
using BuiltinTable = std::unordered_map<std::string_view, Builtin>;

const BuiltinTable& string_filters();
const BuiltinTable& sequence_filters();
const BuiltinTable& value_filters();
const BuiltinTable& tests();
const BuiltinTable& string_methods();
const BuiltinTable& collection_methods(const Value& owner);  // of a list, tuple or mapping
const BuiltinTable& functions();
const BuiltinTable& cycler_methods(const Object& owner);  // none unless it is what `cycler` gave

Builtin find_filter(std::string_view name);  // nullptr: none
// A method of `owner` as a value that can be called; nothing when it has none of this name.
std::optional<Value> find_method(const Value& owner, std::string_view name);
Value make_function(Builtin builtin);

// The arguments of a call matched to parameter names, as Python does.
class Parameters {
 public:
  Parameters(Interpreter& interpreter, std::string_view function, const Arguments& arguments,
             std::initializer_list<std::string_view> names);

  bool has(std::size_t index) const { return values_[index] != nullptr; }
  const Value& value(std::size_t index) const;  // must be given
  Value value_or(std::size_t index, const Value& fallback) const;
  const std::string& string(std::size_t index) const;  // must be given, a string
  std::int64_t integer_or(std::size_t index, std::int64_t fallback) const;
  bool truth_or(std::size_t index, bool fallback) const;

 private:
  [[noreturn]] void fail(const std::string& message) const;

  Interpreter& interpreter_;
  std::string_view function_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;  // nullptr: not given
};

}  // namespace sinkstream::jinja
