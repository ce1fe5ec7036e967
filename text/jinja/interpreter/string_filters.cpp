#include <algorithm>

#include "text/jinja/interpreter/builtins.h"
#include "text/jinja/interpreter/interpreter.h"
#include "text/jinja/interpreter/operators.h"
#include "text/jinja/interpreter/printing.h"
#include "text/jinja/values/letter_case.h"
#include "text/jinja/values/strings.h"

namespace sinkstream::jinja {
namespace {

// A filter without arguments that maps text to text.
template <std::string (*Map)(std::string_view)>
Value map_text(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "filter", arguments, {});
  return interpreter.text(Map(interpreter.text_of(subject)));
}

Value as_text(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "string", arguments, {});
  return subject.is_string() ? subject : Value(interpreter.text_of(subject));
}

Value trim(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "trim", arguments, {"chars"});
  const std::string text = interpreter.text_of(subject);
  const bool by_chars = given.has(0) && !given.value(0).is_none();
  return by_chars ? strip(text, given.string(0)) : strip(text);
}

Value replace_text(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "replace", arguments, {"old", "new", "count"});
  const bool counted = given.has(2) && !given.value(2).is_none();
  const std::string text = interpreter.text_of(subject);
  const std::string old = interpreter.text_of(given.value(0));
  const std::string by = interpreter.text_of(given.value(1));
  return interpreter.replace(text, old, by, counted ? given.integer_or(2, -1) : -1);
}

// Jinja's own rule, not str.title: words begin after blanks, hyphens and opening brackets.
std::string title_words(std::string_view text) {
  std::string result;
  std::string word;
  const auto finish_word = [&] {
    if (word.empty()) return;
    const std::string_view first = first_text_character(word);
    result += to_upper(first) + to_lower(std::string_view(word).substr(first.size()));
    word.clear();
  };
  for (const std::string_view letter : characters(text)) {
    if (strip(letter).empty() || std::string_view("-({[<").find(letter) != std::string_view::npos) {
      finish_word();
      result += letter;
    } else {
      word += letter;
    }
  }
  finish_word();
  return result;
}

Value indent(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "indent", arguments, {"width", "first", "blank"});
  const bool by_text = given.has(0) && given.value(0).is_string();
  const std::int64_t width = by_text ? 0 : std::clamp<std::int64_t>(given.integer_or(0, 4), 0, 10000);
  const std::string indention = by_text ? given.string(0) : std::string(static_cast<std::size_t>(width), ' ');
  const bool blank = given.truth_or(2, false);
  if (subject.is_undefined()) interpreter.fail(subject.undefined_message());
  if (!subject.is_string())
    interpreter.fail("unsupported operand type(s) for +=: '" + subject.type_name() + "' and 'str'");
  std::string text = interpreter.text_of(subject);
  text += '\n';
  std::string result = given.truth_or(1, false) ? indention : "";
  bool first = true;
  for (const std::string_view line : split_lines(text)) {
    if (!first) result += '\n';
    if (!first && (blank || !line.empty())) {
      interpreter.use(static_cast<std::int64_t>(indention.size()));
      result += indention;
    }
    result += line;
    first = false;
  }
  return interpreter.text(std::move(result));
}

Value center(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "center", arguments, {"width"});
  const std::string text = interpreter.text_of(subject);
  const auto width = static_cast<std::size_t>(std::clamp<std::int64_t>(given.integer_or(0, 80), 0, 10000));
  const std::size_t missing = width - std::min(width, length(text));
  const std::size_t left = missing / 2 + (missing & width & 1);  // as str.center
  return std::string(left, ' ') + text + std::string(missing - left, ' ');
}

Value truncate(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Parameters given(interpreter, "truncate", arguments, {"length", "killwords", "end", "leeway"});
  if (subject.is_undefined()) return subject;
  if (!subject.is_string()) {  // whatever is short enough stays as it is
    const auto most = given.integer_or(0, 255) + given.integer_or(3, 5);
    if (static_cast<std::int64_t>(length_of(interpreter, subject)) <= most) return subject;
    interpreter.fail("truncate() needs a str, not " + subject.type_name());
  }
  const std::string text = interpreter.text_of(subject);
  const std::string end = given.has(2) ? given.string(2) : "...";
  const auto size = static_cast<std::int64_t>(length(text));
  const std::int64_t most = given.integer_or(0, 255);
  const std::int64_t kept = most - static_cast<std::int64_t>(length(end));
  if (kept < 0)
    interpreter.fail("expected length >= " + std::to_string(length(end)) + ", got " + std::to_string(most));
  if (size <= most || size - most <= given.integer_or(3, 5)) return text;
  std::string_view start =
      std::string_view(text).substr(0, byte_offset(text, static_cast<std::size_t>(kept)));
  if (!given.truth_or(1, false)) start = split_from_right(start, " ", 1)[0];
  return std::string(start) + end;
}

Value word_count(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Parameters(interpreter, "wordcount", arguments, {});
  std::size_t words = 0;
  bool inside = false;
  const std::string text = interpreter.text_of(subject);
  for (const std::string_view letter : characters(text)) {
    const bool part = letter == "_" || is_all_alphanumeric(letter);
    if (part && !inside) ++words;
    inside = part;
  }
  return words;
}

Value format(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) {
    interpreter.fail("can't handle positional and keyword arguments at the same time");
  }
  Value given = Value::tuple(arguments.positional);
  if (!arguments.named.empty()) {
    auto mapping = std::make_shared<Mapping>();
    for (const auto& [name, value] : arguments.named) mapping->set(name, value);
    given = std::shared_ptr<const Mapping>(std::move(mapping));
  }
  return interpreter.text(percent_format(interpreter, interpreter.text_of(subject), given));
}

}  // namespace

const BuiltinTable& string_filters() {
  static const BuiltinTable table = {
      {"capitalize", map_text<capitalize>},
      {"center", center},
      {"e", map_text<escape_html>},
      {"escape", map_text<escape_html>},
      {"forceescape", map_text<escape_html>},
      {"format", format},
      {"indent", indent},
      {"lower", map_text<to_lower>},
      {"replace", replace_text},
      {"safe", as_text},
      {"string", as_text},
      {"title", map_text<title_words>},
      {"trim", trim},
      {"truncate", truncate},
      {"upper", map_text<to_upper>},
      {"wordcount", word_count},
  };
  return table;
}

}  // namespace sinkstream::jinja
