// Python's two ways to put values into a format string.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/interpreter/operators.h"
#include "text/jinja/interpreter/printing.h"
#include "text/jinja/values/strings.h"

namespace sinkstream::jinja {
namespace {

constexpr int kMaxWidth = 10000;
constexpr int kMaxPrecision = 300;

// [flags][width][.precision]kind of a % format; of a {} format the same with its own letters.
enum class Align { natural, left, right, centre };  // natural: as the kind of value has it

struct Layout {
  Align align = Align::natural;
  bool zero = false, plus = false, space = false;
  int width = 0;
  int precision = -1;
  char kind = 's';
};

int read_small_number(Interpreter& interpreter, std::string_view& format, int most) {
  int number = 0;
  while (!format.empty() && format[0] >= '0' && format[0] <= '9') {
    number = number * 10 + (format[0] - '0');
    if (number > most) interpreter.fail("a format's width or precision is too large");
    format.remove_prefix(1);
  }
  return number;
}

std::string pad(std::string text, const Layout& layout, Align natural) {
  const auto width = static_cast<std::size_t>(layout.width);
  const std::size_t size = length(text);
  if (size >= width) return text;
  const std::size_t missing = width - size;
  const Align align = layout.align == Align::natural ? natural : layout.align;
  if (align == Align::centre)
    return std::string(missing / 2, ' ') + text + std::string(missing - missing / 2, ' ');
  if (align == Align::left) return text + std::string(missing, ' ');
  if (layout.zero && layout.align == Align::natural) {
    const std::size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ') ? 1 : 0;
    return text.insert(sign, missing, '0');
  }
  return text.insert(0, missing, ' ');
}

std::string in_base(std::int64_t number, int base, bool upper) {
  std::array<char, 72> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, base).ptr;
  std::string text(buffer.data(), end);
  if (upper)
    std::transform(text.begin(), text.end(), text.begin(),
                   [](char c) { return c >= 'a' ? static_cast<char>(c - 32) : c; });
  return text;
}

std::string real_text(double number, const Layout& layout) {
  const std::array<char, 6> format = {'%', '.', '*', layout.kind, '\0', '\0'};
  const int precision = layout.precision < 0 ? 6 : layout.precision;
  const int size = std::snprintf(nullptr, 0, format.data(), precision, number);
  std::string text(static_cast<std::size_t>(size) + 1, '\0');
  std::snprintf(text.data(), text.size(), format.data(), precision, number);
  text.pop_back();
  return text;
}

std::string number_text(Interpreter& interpreter, const Value& value, const Layout& layout) {
  if (!value.is_number()) {
    interpreter.fail(std::string("%") + layout.kind + " format: a real number is required, not " +
                     value.type_name());
  }
  std::string text;
  switch (layout.kind) {
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o': {
      const int base = layout.kind == 'o' ? 8 : (layout.kind | 0x20) == 'x' ? 16 : 10;
      if (value.is_real() && !(value.real() > -9e18 && value.real() < 9e18))
        interpreter.fail("the number is out of range");
      text = in_base(value.is_real() ? static_cast<std::int64_t>(value.real()) : value.integer(), base,
                     layout.kind == 'X');
      break;
    }
    default:
      text = real_text(value.real(), layout);
  }
  if (text[0] != '-' && (layout.plus || layout.space)) text.insert(0, 1, layout.plus ? '+' : ' ');
  return pad(std::move(text), layout, Align::right);
}

std::string cut(std::string text, const Layout& layout) {
  if (layout.precision >= 0) text.resize(byte_offset(text, static_cast<std::size_t>(layout.precision)));
  return text;
}

Layout read_percent_layout(Interpreter& interpreter, std::string_view& format) {
  Layout layout;
  for (; !format.empty() && std::string_view("-0+ #").find(format[0]) != std::string_view::npos;
       format.remove_prefix(1)) {
    if (format[0] == '-') layout.align = Align::left;
    layout.zero = layout.zero || format[0] == '0';
    layout.plus = layout.plus || format[0] == '+';
    layout.space = layout.space || format[0] == ' ';
  }
  layout.width = read_small_number(interpreter, format, kMaxWidth);
  if (format.starts_with('.')) {
    format.remove_prefix(1);
    layout.precision = read_small_number(interpreter, format, kMaxPrecision);
  }
  if (format.empty()) interpreter.fail("incomplete format");
  layout.kind = format[0];
  format.remove_prefix(1);
  return layout;
}

std::string formatted(Interpreter& interpreter, const Value& value, Layout layout) {
  interpreter.use(layout.width + std::max(layout.precision, 0));
  if (std::string_view("diuxXofFeEgG").find(layout.kind) != std::string_view::npos) {
    return number_text(interpreter, value, layout);
  }
  layout.zero = false;  // it is for numbers
  if (layout.kind == 's') return pad(cut(interpreter.text_of(value), layout), layout, Align::right);
  if (layout.kind == 'r') {
    interpreter.use(value.weight());
    return pad(cut(representation(value), layout), layout, Align::right);
  }
  interpreter.fail(std::string("unsupported format character '") + layout.kind + "'");
}

// ":<10", ":.2f", ":05d"...
Layout read_brace_layout(Interpreter& interpreter, std::string_view format) {
  Layout layout;
  layout.kind = '\0';
  if (!format.empty() && std::string_view("<>^").find(format[0]) != std::string_view::npos) {
    layout.align = format[0] == '<' ? Align::left : format[0] == '>' ? Align::right : Align::centre;
    format.remove_prefix(1);
  }
  if (format.starts_with('+')) {
    layout.plus = true;
    format.remove_prefix(1);
  }
  layout.zero = format.starts_with('0');
  layout.width = read_small_number(interpreter, format, kMaxWidth);
  if (format.starts_with('.')) {
    format.remove_prefix(1);
    layout.precision = read_small_number(interpreter, format, kMaxPrecision);
  }
  if (!format.empty()) {
    layout.kind = format[0];
    format.remove_prefix(1);
  }
  if (!format.empty()) interpreter.fail("Invalid format specifier");
  return layout;
}

std::string brace_value(Interpreter& interpreter, const Value& value, std::string_view format) {
  const Layout layout = read_brace_layout(interpreter, format);
  if (!format.empty() && !value.is_string() && !value.is_number())
    interpreter.fail("unsupported format string passed to " + value.type_name() + ".__format__");
  if (layout.kind != '\0' && layout.kind != 's') return formatted(interpreter, value, layout);
  interpreter.use(layout.width);
  return pad(cut(interpreter.text_of(value), layout), layout, value.is_number() ? Align::right : Align::left);
}

// What a replacement field's name stands for: {}, {2}, {name}, {name.attribute}, {name[key]}.
class FieldReader {
 public:
  FieldReader(Interpreter& interpreter, const Arguments& arguments)
      : interpreter_(interpreter), arguments_(arguments) {}

  Value read(std::string_view name) {
    const std::size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = first(name.substr(0, end));
    for (name.remove_prefix(end); !name.empty();) {
      const bool attribute = name[0] == '.';
      const std::size_t stop =
          attribute ? std::min(name.find_first_of(".[", 1), name.size()) : name.find(']');
      if (stop == std::string_view::npos) interpreter_.fail("expected '}' before end of string");
      const std::string key(name.substr(1, stop - 1));
      value =
          attribute ? attribute_of(interpreter_, value, key) : element_of(interpreter_, value, as_key(key));
      name.remove_prefix(attribute ? stop : stop + 1);
    }
    return value;
  }

 private:
  static Value as_key(const std::string& text) {
    std::int64_t index = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), index);
    return result.ec == std::errc() && result.ptr == text.data() + text.size() ? Value(index) : Value(text);
  }

  Value first(std::string_view name) {
    const Value key = name.empty() ? Value(next_++) : as_key(std::string(name));
    numbered_ = numbered_ || (!name.empty() && key.is_integer());
    if (numbered_ && next_ > 0) interpreter_.fail("a format's fields are either all numbered or all not");
    if (key.is_integer()) {
      const auto index = static_cast<std::size_t>(key.integer());
      if (key.integer() < 0 || index >= arguments_.positional.size()) {
        interpreter_.fail("Replacement index " + std::to_string(key.integer()) +
                          " out of range for positional args tuple");
      }
      return arguments_.positional[index];
    }
    const auto found = std::find_if(arguments_.named.begin(), arguments_.named.end(),
                                    [name](const auto& entry) { return entry.first == name; });
    if (found == arguments_.named.end()) interpreter_.fail("no argument " + repr(name) + " for the format");
    return found->second;
  }

  Interpreter& interpreter_;
  const Arguments& arguments_;
  std::int64_t next_ = 0;
  bool numbered_ = false;
};

// {!s} and {!r}
Value converted(Interpreter& interpreter, const Value& value, std::string_view conversion) {
  if (conversion == "!s") return interpreter.text_of(value);
  if (conversion != "!r") interpreter.fail("Unknown conversion specifier " + std::string(conversion));
  interpreter.use(value.weight());
  return representation(value);
}

}  // namespace

std::string percent_format(Interpreter& interpreter, std::string_view format, const Value& arguments) {
  const bool many = arguments.is_sequence() && arguments.sequence().tuple;
  std::size_t next = 0;
  const std::size_t count = many ? arguments.sequence().items.size() : 1;
  std::string text;
  while (!format.empty()) {
    const std::size_t percent = std::min(format.find('%'), format.size());
    text += format.substr(0, percent);
    format.remove_prefix(percent);
    if (format.empty()) break;
    format.remove_prefix(1);
    if (format.starts_with('%')) {
      text += '%';
      format.remove_prefix(1);
      continue;
    }
    Value value;
    const bool named = format.starts_with('(');
    if (named) {
      const std::size_t end = format.find(')');
      if (end == std::string_view::npos) interpreter.fail("incomplete format key");
      if (!arguments.is_mapping()) interpreter.fail("format requires a mapping");
      value = element_of(interpreter, arguments, format.substr(1, end - 1));
      format.remove_prefix(end + 1);
    }
    const Layout layout = read_percent_layout(interpreter, format);
    if (!named) {
      if (next >= count) interpreter.fail("not enough arguments for format string");
      value = many ? arguments.sequence().items[next] : arguments;
      ++next;
    }
    text += formatted(interpreter, value, layout);
  }
  const bool may_be_left = arguments.is_mapping() || (arguments.is_sequence() && !many);
  if (next < count && !may_be_left) interpreter.fail("not all arguments converted during string formatting");
  return text;
}

std::string brace_format(Interpreter& interpreter, std::string_view format, const Arguments& arguments) {
  FieldReader fields(interpreter, arguments);
  std::string text;
  while (!format.empty()) {
    const std::size_t brace = std::min(format.find_first_of("{}"), format.size());
    text += format.substr(0, brace);
    format.remove_prefix(brace);
    if (format.empty()) break;
    const char c = format[0];
    format.remove_prefix(1);
    if (format.starts_with(c)) {
      text += c;
      format.remove_prefix(1);
      continue;
    }
    const std::size_t end = format.find('}');
    if (c == '}' || end == std::string_view::npos)
      interpreter.fail(std::string("Single '") + c + "' encountered in format string");
    const std::string_view field = format.substr(0, end);
    const std::size_t colon = std::min(field.find(':'), field.size());
    const std::string_view layout = colon < field.size() ? field.substr(colon + 1) : std::string_view();
    const std::size_t conversion = std::min(field.find('!'), colon);
    Value value = fields.read(field.substr(0, conversion));
    if (conversion < colon)
      value = converted(interpreter, value, field.substr(conversion, colon - conversion));
    text += brace_value(interpreter, value, layout);
    format.remove_prefix(end + 1);
  }
  return text;
}

}  // namespace sinkstream::jinja
