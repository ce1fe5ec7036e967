#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "text/jinja/interpreter/builtins.h"
#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/interpreter/operators.h"
#include "text/jinja/interpreter/printing.h"
#include "text/jinja/values/strings.h"

namespace sinkstream::jinja {
namespace {

Value absolute(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "abs", arguments, {});
  if (subject.is_real()) return std::fabs(subject.real());
  const Value negative = negate(interpreter, subject);
  return subject.integer() < 0 ? negative : Value(subject.integer());
}

Value attribute(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "attr", arguments, {"name"});
  if (subject.is_object()) {
    if (auto value = subject.object()->attribute(given.string(0))) return std::move(*value);
  }
  if (auto method = find_method(subject, given.string(0))) return std::move(*method);
  return Value::undefined("'" + subject.type_name() + " object' has no attribute " + repr(given.string(0)));
}

Value fallback(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "default", arguments, {"default_value", "boolean"});
  const bool missing = subject.is_undefined() || (given.truth_or(1, false) && !subject.truth());
  return missing ? given.value_or(0, "") : subject;
}

// Without the underscores that Python allows between digits.
std::string number_digits(std::string_view text) {
  std::string digits(strip(text));
  if (digits.starts_with('+')) digits.erase(0, 1);
  for (std::size_t at = digits.find('_'); at != std::string::npos; at = digits.find('_', at))
    digits.erase(at, 1);
  return digits;
}

std::optional<double> parse_real(std::string_view text) {
  const std::string digits = number_digits(text);
  double number = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (result.ec != std::errc() || result.ptr != digits.data() + digits.size()) return std::nullopt;
  return number;
}

std::optional<std::int64_t> parse_integer(std::string_view text, int base) {
  std::string digits = number_digits(text);
  const bool negative = digits.starts_with('-');
  const std::size_t start = negative ? 1 : 0;
  if (digits.size() > start + 2 && digits[start] == '0' && (base == 16 || base == 8 || base == 2)) {
    const char kind = static_cast<char>(digits[start + 1] | 0x20);
    if (kind == (base == 16 ? 'x' : base == 8 ? 'o' : 'b')) digits.erase(start, 2);
  }
  std::int64_t number = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  if (result.ec != std::errc() || result.ptr != digits.data() + digits.size()) return std::nullopt;
  return number;
}

bool fits_integer(double number) {
  return number > -9.2e18 && number < 9.2e18;
}

Value to_integer(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "int", arguments, {"default", "base"});
  const std::int64_t base = given.integer_or(1, 10);
  if (base < 2 || base > 36) interpreter.fail("int() base must be >= 2 and <= 36");
  if (subject.is_undefined()) interpreter.fail(subject.undefined_message());
  if (subject.is_integer() || subject.is_boolean()) return subject.integer();
  std::optional<double> number;
  if (subject.is_string()) {
    if (const auto whole = parse_integer(subject.string(), static_cast<int>(base))) return *whole;
    number = parse_real(subject.string());
  } else if (subject.is_real()) {
    number = subject.real();
  }
  return number && fits_integer(*number) ? Value(static_cast<std::int64_t>(*number)) : given.value_or(0, 0);
}

Value to_real(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "float", arguments, {"default"});
  if (subject.is_undefined()) interpreter.fail(subject.undefined_message());
  if (subject.is_number()) return subject.real();
  if (subject.is_string()) {
    if (const auto number = parse_real(subject.string())) return *number;
  }
  return given.value_or(0, 0.0);
}

Value round_number(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "round", arguments, {"precision", "method"});
  const std::int64_t precision = given.integer_or(0, 0);
  const std::string method = given.has(1) ? given.string(1) : "common";
  if (method != "common" && method != "ceil" && method != "floor") {
    interpreter.fail("method must be common, ceil or floor");
  }
  if (!subject.is_number())
    interpreter.fail("type " + subject.type_name() + " doesn't define __round__ method");
  if (method == "common" && !subject.is_real() && precision >= 0) return subject.integer();
  if (precision < -300 || precision > 300) interpreter.fail("round() precision is out of range");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return (std::ceil(subject.real() * scale) + 0.0) / scale;  // no -0.0
  if (method == "floor") return (std::floor(subject.real() * scale) + 0.0) / scale;
  if (precision < 0) {
    const double rounded = std::nearbyint(subject.real() * scale) / scale;
    return subject.is_real() || !fits_integer(rounded) ? Value(rounded)
                                                       : Value(static_cast<std::int64_t>(rounded));
  }
  // Python rounds the exact decimal expansion, half to even; so does printf.
  const std::string text = percent_format(interpreter, "%." + std::to_string(precision) + "f", subject);
  return parse_real(text).value_or(subject.real());
}

Value tojson(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "tojson", arguments,
                         {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii = given.truth_or(0, false);
  style.sort_keys = given.truth_or(3, false);
  if (given.has(1) && !given.value(1).is_none()) {
    style.item_separator = ",";
    const bool by_text = given.value(1).is_string();
    const std::int64_t width = by_text ? 0 : given.integer_or(1, 0);
    if (width > 1000) interpreter.fail("tojson() indent is too large");
    style.indent = by_text ? given.string(1)
                           : std::string(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
  }
  if (given.has(2) && !given.value(2).is_none()) {
    const std::vector<Value> separators = items_of(interpreter, given.value(2));
    if (separators.size() != 2) interpreter.fail("tojson() separators must be two strings");
    style.item_separator = interpreter.text_of(separators[0]);
    style.key_separator = interpreter.text_of(separators[1]);
  }
  return interpreter.text(to_json(interpreter, subject, style));
}

}  // namespace

const BuiltinTable& value_filters() {
  static const BuiltinTable table = {
      {"abs", absolute},  {"attr", attribute}, {"d", fallback},         {"default", fallback},
      {"float", to_real}, {"int", to_integer}, {"round", round_number}, {"tojson", tojson},
  };
  return table;
}

}  // namespace sinkstream::jinja
