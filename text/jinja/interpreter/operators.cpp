#include "text/jinja/interpreter/operators.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "text/jinja/interpreter/builtins.h"
#include "text/jinja/interpreter/printing.h"
#include "text/jinja/values/strings.h"

namespace sinkstream::jinja {
namespace {

void must_be_defined(Interpreter& interpreter, const Value& value) {
  if (value.is_undefined()) interpreter.fail(value.undefined_message());
}

std::string_view symbol_of(BinaryOperator op) {
  switch (op) {
    case BinaryOperator::add:
      return "+";
    case BinaryOperator::subtract:
      return "-";
    case BinaryOperator::multiply:
      return "*";
    case BinaryOperator::divide:
      return "/";
    case BinaryOperator::floor_divide:
      return "//";
    case BinaryOperator::modulo:
      return "%";
    case BinaryOperator::power:
      return "** or pow()";
    case BinaryOperator::concatenate:
      return "~";
  }
  return "";
}

[[noreturn]] void unsupported(Interpreter& interpreter, BinaryOperator op, const Value& a, const Value& b) {
  interpreter.fail("unsupported operand type(s) for " + std::string(symbol_of(op)) + ": '" + a.type_name() +
                   "' and '" + b.type_name() + "'");
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  const std::int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

// Whether it fits; Python's integers have no limit, ours say so.
bool power(std::int64_t base, std::int64_t exponent, std::int64_t& result) {
  result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return false;
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return false;
  }
  return true;
}

Value integers(Interpreter& interpreter, BinaryOperator op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool fits = true;
  const bool divides = op == BinaryOperator::floor_divide || op == BinaryOperator::modulo;
  if (divides && b == 0) interpreter.fail("integer division or modulo by zero");
  if (divides && b == -1) return op == BinaryOperator::modulo ? Value(0) : negate(interpreter, a);
  switch (op) {
    case BinaryOperator::add:
      fits = !__builtin_add_overflow(a, b, &result);
      break;
    case BinaryOperator::subtract:
      fits = !__builtin_sub_overflow(a, b, &result);
      break;
    case BinaryOperator::multiply:
      fits = !__builtin_mul_overflow(a, b, &result);
      break;
    case BinaryOperator::floor_divide:
      result = floor_divide(a, b);
      break;
    case BinaryOperator::modulo:
      result = a - floor_divide(a, b) * b;
      break;
    default:
      fits = power(a, b, result);
  }
  if (!fits) interpreter.fail("the integer is too large");
  return result;
}

// Quotient and remainder as Python has them: the remainder is exact and has the divisor's sign.
std::pair<double, double> divide_with_remainder(double a, double b) {
  double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder == 0) {
    remainder = std::copysign(0.0, b);
  } else if ((b < 0) != (remainder < 0)) {
    remainder += b;
    quotient -= 1;
  }
  if (quotient == 0) return {std::copysign(0.0, a / b), remainder};
  const double whole = std::floor(quotient);
  return {quotient - whole > 0.5 ? whole + 1 : whole, remainder};
}

double power(Interpreter& interpreter, double base, double exponent) {
  if (base == 0 && exponent < 0) interpreter.fail("0.0 cannot be raised to a negative power");
  const double result = std::pow(base, exponent);
  if (std::isnan(result) && !std::isnan(base) && !std::isnan(exponent))
    interpreter.fail("complex numbers are not supported");
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent))
    interpreter.fail("(34, 'Numerical result out of range')");
  return result;
}

Value reals(Interpreter& interpreter, BinaryOperator op, double a, double b) {
  const bool divides =
      op == BinaryOperator::divide || op == BinaryOperator::floor_divide || op == BinaryOperator::modulo;
  if (divides && b == 0) interpreter.fail("division by zero");
  switch (op) {
    case BinaryOperator::add:
      return a + b;
    case BinaryOperator::subtract:
      return a - b;
    case BinaryOperator::multiply:
      return a * b;
    case BinaryOperator::divide:
      return a / b;
    case BinaryOperator::floor_divide:
      return divide_with_remainder(a, b).first;
    case BinaryOperator::modulo:
      return divide_with_remainder(a, b).second;
    default:
      return power(interpreter, a, b);
  }
}

Value numbers(Interpreter& interpreter, BinaryOperator op, const Value& a, const Value& b) {
  const bool whole = !a.is_real() && !b.is_real() && op != BinaryOperator::divide &&
                     !(op == BinaryOperator::power && b.integer() < 0);
  return whole ? integers(interpreter, op, a.integer(), b.integer())
               : reals(interpreter, op, a.real(), b.real());
}

// Strings and lists, `times` times.
Value repeat(Interpreter& interpreter, const Value& value, std::int64_t times) {
  const std::size_t size = value.is_string() ? value.string().size() : value.sequence().items.size();
  const std::size_t rounds = size == 0 || times < 0 ? 0 : static_cast<std::size_t>(times);
  std::size_t total = 0;
  if (__builtin_mul_overflow(size, rounds, &total) || total > (std::size_t{1} << 32)) {
    interpreter.fail("the template makes too much text");
  }
  interpreter.use(static_cast<std::int64_t>(value.is_string() ? total : total * sizeof(Value)));
  if (value.is_string()) {
    std::string text;
    text.reserve(total);
    for (std::size_t i = 0; i < rounds; ++i) text += value.string();
    return text;
  }
  std::vector<Value> items;
  items.reserve(total);
  for (std::size_t i = 0; i < rounds; ++i) {
    items.insert(items.end(), value.sequence().items.begin(), value.sequence().items.end());
  }
  return interpreter.checked(value.sequence().tuple ? Value::tuple(std::move(items))
                                                    : Value::list(std::move(items)));
}

Value join(Interpreter& interpreter, const Value& a, const Value& b) {
  std::vector<Value> items = a.sequence().items;
  items.insert(items.end(), b.sequence().items.begin(), b.sequence().items.end());
  return interpreter.checked(a.sequence().tuple ? Value::tuple(std::move(items))
                                                : Value::list(std::move(items)));
}

Value add(Interpreter& interpreter, const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) return interpreter.text(a.string() + b.string());
  if (a.is_string()) interpreter.fail("can only concatenate str (not \"" + b.type_name() + "\") to str");
  if (a.is_sequence() && b.is_sequence() && a.sequence().tuple == b.sequence().tuple)
    return join(interpreter, a, b);
  unsupported(interpreter, BinaryOperator::add, a, b);
}

Generator* generator_in(const Value& value) {
  return value.is_object() ? dynamic_cast<Generator*>(value.object().get()) : nullptr;
}

bool is_repeatable(const Value& value) {
  return value.is_string() || value.is_sequence();
}

bool is_whole(const Value& value) {
  return value.is_integer() || value.is_boolean();
}

std::string no_attribute(const Value& object, const Value& key) {
  const std::string owner = object.is_none() ? "None" : object.type_name() + " object";
  if (!key.is_string()) return owner + " has no element " + representation(key);
  return "'" + owner + "' has no attribute " + repr(key.string());
}

// The index that Python means, or nothing when it is outside.
std::optional<std::size_t> resolve_index(std::int64_t index, std::size_t size) {
  const auto count = static_cast<std::int64_t>(size);
  if (index < -count || index >= count) return std::nullopt;
  return static_cast<std::size_t>(index < 0 ? index + count : index);
}

struct Range {
  std::int64_t start, stop, step;
};

std::int64_t slice_part(Interpreter& interpreter, const Value& value, std::int64_t fallback) {
  if (value.is_none()) return fallback;
  must_be_defined(interpreter, value);
  if (!is_whole(value))
    interpreter.fail("slice indices must be integers or None or have an __index__ method");
  return value.integer();
}

Range slice_range(Interpreter& interpreter, const Value& start, const Value& stop, const Value& step,
                  std::int64_t size) {
  Range range{0, 0, slice_part(interpreter, step, 1)};
  if (range.step == 0) interpreter.fail("slice step cannot be zero");
  range.step = std::clamp(range.step, -size - 1, size + 1);
  const std::int64_t low = range.step < 0 ? -1 : 0;
  const std::int64_t high = range.step < 0 ? size - 1 : size;
  const auto place = [&](const Value& value, std::int64_t fallback) {
    const std::int64_t given = slice_part(interpreter, value, fallback);
    if (value.is_none()) return given;
    return std::clamp(given < 0 ? std::max(given, -size - 1) + size : given, low, high);
  };
  range.start = place(start, range.step < 0 ? high : low);
  range.stop = place(stop, range.step < 0 ? low : high);
  return range;
}

template <typename T, typename Take>
void take_slice(const std::vector<T>& items, const Range& range, Take take) {
  for (std::int64_t i = range.start; range.step > 0 ? i < range.stop : i > range.stop; i += range.step) {
    take(items[static_cast<std::size_t>(i)]);
  }
}

}  // namespace

void check_key(Interpreter& interpreter, const Value& key) {
  interpreter.use(key.weight());
  if (!can_be_key(key)) interpreter.fail("unhashable type: '" + key.type_name() + "'");
}

Value binary(Interpreter& interpreter, BinaryOperator op, const Value& a, const Value& b) {
  if (op == BinaryOperator::concatenate)
    return interpreter.text(interpreter.text_of(a) + interpreter.text_of(b));
  must_be_defined(interpreter, a);
  if (op == BinaryOperator::modulo && a.is_string()) {
    return interpreter.text(percent_format(interpreter, a.string(), b));
  }
  must_be_defined(interpreter, b);
  if (a.is_number() && b.is_number()) return numbers(interpreter, op, a, b);
  if (op == BinaryOperator::add) return add(interpreter, a, b);
  if (op == BinaryOperator::multiply && is_repeatable(a) && is_whole(b))
    return repeat(interpreter, a, b.integer());
  if (op == BinaryOperator::multiply && is_repeatable(b) && is_whole(a))
    return repeat(interpreter, b, a.integer());
  unsupported(interpreter, op, a, b);
}

Value negate(Interpreter& interpreter, const Value& value) {
  must_be_defined(interpreter, value);
  if (value.is_real()) return -value.real();
  if (!value.is_number()) interpreter.fail("bad operand type for unary -: '" + value.type_name() + "'");
  if (value.integer() == INT64_MIN) interpreter.fail("the integer is too large");
  return -value.integer();
}

int order_of(Interpreter& interpreter, const Value& a, const Value& b) {
  must_be_defined(interpreter, a);
  must_be_defined(interpreter, b);
  if (!a.is_number()) interpreter.use(std::min(a.weight(), b.weight()));
  const std::optional<int> order = compare(a, b);
  if (!order) {
    interpreter.fail("'<' not supported between instances of '" + a.type_name() + "' and '" + b.type_name() +
                     "'");
  }
  return *order;
}

bool compare(Interpreter& interpreter, Comparison comparison, const Value& a, const Value& b) {
  switch (comparison) {
    case Comparison::equal:
    case Comparison::not_equal:
      interpreter.use(std::min(a.weight(), b.weight()));
      return equal(a, b) == (comparison == Comparison::equal);
    case Comparison::in:
      return contains(interpreter, b, a);
    case Comparison::not_in:
      return !contains(interpreter, b, a);
    case Comparison::less:
      return order_of(interpreter, a, b) < 0;
    case Comparison::less_equal:
      return order_of(interpreter, a, b) <= 0;
    case Comparison::greater:
      return order_of(interpreter, a, b) > 0;
    case Comparison::greater_equal:
      return order_of(interpreter, a, b) >= 0;
  }
  return false;
}

bool contains(Interpreter& interpreter, const Value& container, const Value& item) {
  if (container.is_undefined()) return false;
  if (container.is_string()) {
    if (!item.is_string()) {
      interpreter.fail("'in <string>' requires string as left operand, not " + item.type_name());
    }
    interpreter.use(container.weight());
    return container.string().find(item.string()) != std::string::npos;
  }
  if (container.is_mapping()) {
    check_key(interpreter, item);
    return container.mapping().find(item) != nullptr;
  }
  if (auto* generator = generator_in(container)) {  // takes what comes before the item, and the item
    while (const std::optional<Value> next = generator->take_next()) {
      interpreter.use(next->weight());
      if (equal(*next, item)) return true;
    }
    return false;
  }
  if (!container.is_sequence())
    interpreter.fail("argument of type '" + container.type_name() + "' is not iterable");
  const auto& items = container.sequence().items;
  interpreter.use(container.weight());
  return std::any_of(items.begin(), items.end(), [&item](const Value& value) { return equal(value, item); });
}

Value attribute_of(Interpreter& interpreter, const Value& object, const std::string& name) {
  must_be_defined(interpreter, object);
  if (object.is_object()) {
    if (auto value = object.object()->attribute(name)) return std::move(*value);
  }
  if (auto method = find_method(object, name)) return interpreter.checked(std::move(*method));
  if (object.is_mapping()) {
    if (const Value* value = object.mapping().find(std::string_view(name))) return *value;
  }
  return Value::undefined(no_attribute(object, name));
}

Value element_of(Interpreter& interpreter, const Value& object, const Value& key) {
  must_be_defined(interpreter, object);
  must_be_defined(interpreter, key);
  if (object.is_mapping()) {
    interpreter.use(key.weight());
    if (const Value* value = object.mapping().find(key)) return *value;
  }
  if (is_whole(key) && object.is_sequence()) {
    const auto& items = object.sequence().items;
    if (const auto index = resolve_index(key.integer(), items.size())) return items[*index];
  }
  if (is_whole(key) && object.is_string()) {
    const std::string& text = object.string();
    interpreter.use(object.weight());
    if (const auto index = resolve_index(key.integer(), length(text))) {
      return first_text_character(std::string_view(text).substr(byte_offset(text, *index)));
    }
  }
  if (key.is_string()) {
    if (object.is_object()) {
      if (auto value = object.object()->attribute(key.string())) return std::move(*value);
    }
    if (auto method = find_method(object, key.string())) return interpreter.checked(std::move(*method));
  }
  return Value::undefined(no_attribute(object, key));
}

Value slice_of(Interpreter& interpreter, const Value& object, const Value& start, const Value& stop,
               const Value& step) {
  must_be_defined(interpreter, object);
  if (object.is_string()) {
    interpreter.use(object.weight());
    const std::vector<std::string_view> letters = characters(object.string());
    std::string text;
    take_slice(letters,
               slice_range(interpreter, start, stop, step, static_cast<std::int64_t>(letters.size())),
               [&text](std::string_view letter) { text += letter; });
    return text;
  }
  if (object.is_mapping()) interpreter.fail("unhashable type: 'slice'");
  if (!object.is_sequence()) interpreter.fail("'" + object.type_name() + "' object is not subscriptable");
  const std::vector<Value>& items = object.sequence().items;
  std::vector<Value> taken;
  take_slice(items, slice_range(interpreter, start, stop, step, static_cast<std::int64_t>(items.size())),
             [&taken](const Value& item) { taken.push_back(item); });
  return interpreter.checked(object.sequence().tuple ? Value::tuple(std::move(taken))
                                                     : Value::list(std::move(taken)));
}

std::optional<Value> first_of(Interpreter& interpreter, const Value& value) {
  if (auto* generator = generator_in(value)) return generator->take_next();
  std::vector<Value> items = items_of(interpreter, value);
  if (items.empty()) return std::nullopt;
  return std::move(items.front());
}

std::vector<Value> items_of(Interpreter& interpreter, const Value& value) {
  if (value.is_undefined()) return {};
  if (value.is_sequence()) {
    interpreter.use(static_cast<std::int64_t>(value.sequence().items.size() * sizeof(Value)));
    return value.sequence().items;
  }
  std::vector<Value> items;
  if (auto* generator = generator_in(value)) {
    items = generator->take_rest();
  } else if (value.is_mapping()) {
    for (const auto& [key, entry] : value.mapping().entries()) items.push_back(key);
  } else if (value.is_string()) {
    interpreter.use(static_cast<std::int64_t>(value.string().size() * sizeof(Value)));
    for (const std::string_view letter : characters(value.string())) items.emplace_back(letter);
  } else {
    interpreter.fail("'" + value.type_name() + "' object is not iterable");
  }
  interpreter.use(static_cast<std::int64_t>(items.size() * sizeof(Value)));
  return items;
}

std::size_t length_of(Interpreter& interpreter, const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_string()) return length(value.string());
  if (value.is_sequence()) return value.sequence().items.size();
  if (value.is_mapping()) return value.mapping().entries().size();
  interpreter.fail("object of type '" + value.type_name() + "' has no len()");
}

}  // namespace sinkstream::jinja
