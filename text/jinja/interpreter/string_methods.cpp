#include <algorithm>

#include "text/jinja/interpreter/builtins.h"
#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/interpreter/operators.h"
#include "text/jinja/interpreter/printing.h"
#include "text/jinja/values/letter_case.h"
#include "text/jinja/values/strings.h"
#include "text/unicode/utf8.h"

namespace sinkstream::jinja {
namespace {

// Methods are only called on strings.
template <std::string (*Map)(std::string_view)>
Value map_text(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  Parameters(interpreter, "method", arguments, {});
  return interpreter.text(Map(self.string()));
}

template <bool (*Holds)(std::string_view)>
Value test_text(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  Parameters(interpreter, "method", arguments, {});
  interpreter.use(self.weight());
  return Holds(self.string());
}

bool is_all_space(std::string_view text) {
  return !text.empty() && strip(text).empty();
}

bool is_all_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool is_all_printable(std::string_view text) {
  const std::vector<std::string_view> letters = characters(text);
  return std::all_of(letters.begin(), letters.end(), [](std::string_view letter) {
    return is_printable(first_character(letter).code_point);
  });
}

using Strip = std::string_view (*)(std::string_view, std::optional<std::string_view>);

template <Strip How>
Value strip_text(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "strip", arguments, {"chars"});
  const bool by_chars = given.has(0) && !given.value(0).is_none();
  interpreter.use(self.weight());
  return by_chars ? How(self.string(), given.string(0)) : How(self.string(), std::nullopt);
}

Value strings(Interpreter& interpreter, const std::vector<std::string_view>& parts) {
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(interpreter.text(std::string(part)));
  return interpreter.checked(Value::list(std::move(items)));
}

using Split = std::vector<std::string_view> (*)(std::string_view, std::optional<std::string_view>,
                                                std::int64_t);

template <Split How>
Value split_text(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "split", arguments, {"sep", "maxsplit"});
  interpreter.use(self.weight() * static_cast<std::int64_t>(sizeof(std::string_view)));
  std::optional<std::string_view> separator;
  if (given.has(0) && !given.value(0).is_none()) separator = given.string(0);
  if (separator && separator->empty()) interpreter.fail("empty separator");
  return strings(interpreter, How(self.string(), separator, given.integer_or(1, -1)));
}

Value split_into_lines(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "splitlines", arguments, {"keepends"});
  interpreter.use(self.weight() * static_cast<std::int64_t>(sizeof(std::string_view)));
  return strings(interpreter, split_lines(self.string(), given.truth_or(0, false)));
}

// The text before the separator, the separator, the text after it.
template <bool from_right>
Value partition(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "partition", arguments, {"sep"});
  const std::string& text = self.string();
  const std::string& separator = given.string(0);
  if (separator.empty()) interpreter.fail("empty separator");
  const std::size_t at = from_right ? text.rfind(separator) : text.find(separator);
  if (at == std::string::npos) {
    return from_right ? Value::tuple({"", "", self}) : Value::tuple({self, "", ""});
  }
  return Value::tuple({interpreter.text(text.substr(0, at)), separator,
                       interpreter.text(text.substr(at + separator.size()))});
}

// The part of the text that the arguments `start` and `end` leave, in code points.
std::string_view part_of(Interpreter& interpreter, const Value& self, const Parameters& given,
                         std::size_t& skipped) {
  const std::string_view text = self.string();
  interpreter.use(self.weight());
  const auto size = static_cast<std::int64_t>(length(text));
  const auto place = [&](std::size_t argument, std::int64_t fallback) {
    const bool none = !given.has(argument) || given.value(argument).is_none();
    const std::int64_t index = none ? fallback : given.integer_or(argument, fallback);
    return std::clamp<std::int64_t>(index < 0 ? std::max(index, -size) + size : index, 0, size);
  };
  const std::int64_t begin = place(1, 0);
  const std::int64_t end = std::max(begin, place(2, size));
  skipped = static_cast<std::size_t>(begin);
  const std::size_t first = byte_offset(text, static_cast<std::size_t>(begin));
  return text.substr(first, byte_offset(text, static_cast<std::size_t>(end)) - first);
}

template <bool at_end>
Value has_affix(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, at_end ? "endswith" : "startswith", arguments,
                         {"prefix", "start", "end"});
  std::size_t skipped = 0;
  const std::string_view text = part_of(interpreter, self, given, skipped);
  const auto matches = [text](const std::string& affix) {
    return at_end ? text.ends_with(affix) : text.starts_with(affix);
  };
  if (!given.value(0).is_sequence()) return matches(given.string(0));
  const auto& affixes = given.value(0).sequence().items;
  return std::any_of(affixes.begin(), affixes.end(),
                     [&matches](const Value& affix) { return affix.is_string() && matches(affix.string()); });
}

template <bool from_right>
std::int64_t find_in(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "find", arguments, {"sub", "start", "end"});
  std::size_t skipped = 0;
  const std::string_view text = part_of(interpreter, self, given, skipped);
  const std::size_t at = from_right ? text.rfind(given.string(0)) : text.find(given.string(0));
  return at == std::string_view::npos ? -1 : static_cast<std::int64_t>(skipped + length(text.substr(0, at)));
}

template <bool from_right>
Value find_text(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  return find_in<from_right>(interpreter, self, arguments);
}

template <bool from_right>
Value index_of(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const std::int64_t index = find_in<from_right>(interpreter, self, arguments);
  if (index < 0) interpreter.fail("substring not found");
  return index;
}

Value count_text(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "count", arguments, {"sub", "start", "end"});
  std::size_t skipped = 0;
  return count(part_of(interpreter, self, given, skipped), given.string(0));
}

Value replace_text(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "replace", arguments, {"old", "new", "count"});
  return interpreter.replace(self.string(), given.string(0), given.string(1), given.integer_or(2, -1));
}

template <bool at_end>
Value remove_affix(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "remove", arguments, {"affix"});
  const std::string& text = self.string();
  const std::string& affix = given.string(0);
  if (at_end ? !text.ends_with(affix) : !text.starts_with(affix)) return self;
  return interpreter.text(at_end ? text.substr(0, text.size() - affix.size()) : text.substr(affix.size()));
}

Value join_items(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "join", arguments, {"iterable"});
  std::string text;
  std::size_t index = 0;
  for (const Value& item : items_of(interpreter, given.value(0))) {
    if (!item.is_string()) {
      interpreter.fail("sequence item " + std::to_string(index) + ": expected str instance, " +
                       item.type_name() + " found");
    }
    if (index++ > 0) text += self.string();
    interpreter.use(self.weight() + item.weight());
    text += item.string();
  }
  return text;
}

enum class Side { left, right, both };

template <Side text_side>
Value justify(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "just", arguments, {"width", "fillchar"});
  const std::string fill = given.has(1) ? given.string(1) : " ";
  if (length(fill) != 1) interpreter.fail("The fill character must be exactly one character long");
  const auto width = static_cast<std::size_t>(std::clamp<std::int64_t>(given.integer_or(0, 0), 0, 10000));
  const std::size_t missing = width - std::min(width, length(self.string()));
  const std::size_t left = text_side == Side::left    ? 0
                           : text_side == Side::right ? missing
                                                      : missing / 2 + (missing & width & 1);
  std::string text;
  for (std::size_t i = 0; i < left; ++i) text += fill;
  text += self.string();
  for (std::size_t i = left; i < missing; ++i) text += fill;
  return interpreter.text(std::move(text));
}

Value zero_fill(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "zfill", arguments, {"width"});
  const auto width = static_cast<std::size_t>(std::clamp<std::int64_t>(given.integer_or(0, 0), 0, 10000));
  std::string text = self.string();
  const std::size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  text.insert(sign, width - std::min(width, length(text)), '0');
  return interpreter.text(std::move(text));
}

Value expand_tabs(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Parameters given(interpreter, "expandtabs", arguments, {"tabsize"});
  const auto size = static_cast<std::size_t>(std::clamp<std::int64_t>(given.integer_or(0, 8), 0, 1000));
  interpreter.use(self.weight() + static_cast<std::int64_t>(count(self.string(), "\t") * size));
  std::string text;
  std::size_t column = 0;
  for (const std::string_view letter : characters(self.string())) {
    if (letter == "\t") {
      const std::size_t blanks = size == 0 ? 0 : size - column % size;
      text.append(blanks, ' ');
      column += blanks;
    } else {
      text += letter;
      column = letter == "\n" || letter == "\r" ? 0 : column + 1;
    }
  }
  return text;
}

Value format(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  return interpreter.text(brace_format(interpreter, self.string(), arguments));
}

}  // namespace

const BuiltinTable& string_methods() {
  static const BuiltinTable table = {
      {"capitalize", map_text<capitalize>},
      {"casefold", map_text<fold_case>},
      {"center", justify<Side::both>},
      {"count", count_text},
      {"endswith", has_affix<true>},
      {"expandtabs", expand_tabs},
      {"find", find_text<false>},
      {"format", format},
      {"index", index_of<false>},
      {"isalnum", test_text<is_all_alphanumeric>},
      {"isalpha", test_text<is_all_alphabetic>},
      {"isascii", test_text<is_all_ascii>},
      {"isdecimal", test_text<is_all_decimal>},
      {"isdigit", test_text<is_all_digits>},
      {"islower", test_text<is_all_lower>},
      {"isnumeric", test_text<is_all_numeric>},
      {"isprintable", test_text<is_all_printable>},
      {"isspace", test_text<is_all_space>},
      {"istitle", test_text<is_title>},
      {"isupper", test_text<is_all_upper>},
      {"join", join_items},
      {"ljust", justify<Side::left>},
      {"lower", map_text<to_lower>},
      {"lstrip", strip_text<strip_left>},
      {"partition", partition<false>},
      {"removeprefix", remove_affix<false>},
      {"removesuffix", remove_affix<true>},
      {"replace", replace_text},
      {"rfind", find_text<true>},
      {"rindex", index_of<true>},
      {"rjust", justify<Side::right>},
      {"rpartition", partition<true>},
      {"rsplit", split_text<split_from_right>},
      {"rstrip", strip_text<strip_right>},
      {"split", split_text<split>},
      {"splitlines", split_into_lines},
      {"startswith", has_affix<false>},
      {"strip", strip_text<strip>},
      {"swapcase", map_text<swap_case>},
      {"title", map_text<to_title>},
      {"upper", map_text<to_upper>},
      {"zfill", zero_fill},
  };
  return table;
}

}  // namespace sinkstream::jinja
