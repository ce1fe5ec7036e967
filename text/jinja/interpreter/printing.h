// Values as text: Python's str and repr, JSON, and % formatting.
#pragma once

#include <optional>
#include <string>

#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/values/value.h"

namespace sinkstream::jinja {

std::string to_text(const Value& value);
std::string representation(const Value& value);

struct JsonStyle {
  std::optional<std::string> indent;  // of one level; none: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
  bool ascii = false;
};
std::string to_json(Interpreter& interpreter, const Value& value, const JsonStyle& style);

// "%s and %d" % arguments
std::string percent_format(Interpreter& interpreter, std::string_view format, const Value& arguments);
// "{} and {name}".format(arguments)
std::string brace_format(Interpreter& interpreter, std::string_view format, const Arguments& arguments);

}  // namespace sinkstream::jinja
