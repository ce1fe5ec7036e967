#include "text/jinja/syntax/string_literal.h"

#include <algorithm>
#include <charconv>

#include "text/jinja/values/error.h"
#include "text/unicode/utf8.h"

namespace sinkstream::jinja {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// The escapes of one letter; '\0': none.
char simple_escape(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'r':
      return '\r';
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'v':
      return '\v';
    case '\\':
    case '\'':
    case '"':
      return c;
    default:
      return '\0';
  }
}

// \ooo: up to three octal digits. Returns how many were read.
std::size_t octal_escape(std::string_view digits, std::string& text) {
  char32_t code_point = 0;
  std::size_t count = 0;
  while (count < 3 && count < digits.size() && digits[count] >= '0' && digits[count] <= '7') {
    code_point = code_point * 8 + static_cast<char32_t>(digits[count++] - '0');
  }
  append_utf8(text, code_point);
  return count;
}

// \xhh, \uhhhh, \Uhhhhhhhh. Returns how many digits were read.
std::size_t hex_escape(std::string_view digits, std::size_t count, std::string& text, int line) {
  std::uint32_t code_point = 0;
  const char* end = digits.data() + std::min(count, digits.size());
  const auto [last, error] = std::from_chars(digits.data(), end, code_point, 16);
  const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  if (error != std::errc() || digits.size() < count || last != end || code_point > 0x10FFFF || surrogate) {
    throw Error("a string has a broken \\x, \\u or \\U escape", line);
  }
  append_utf8(text, code_point);
  return count;
}

// Digits of `base` with single underscores between them, from `at` on; they are added to `digits`.
std::size_t take_digits(std::string_view text, std::size_t at, int base, std::string& digits) {
  const auto is_part = [base](char c) {
    const int value = is_digit(c)            ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : 99;
    return value < base;
  };
  while (at < text.size()) {
    if (text[at] == '_' && at + 1 < text.size() && is_part(text[at + 1])) ++at;
    if (!is_part(text[at])) break;
    digits += text[at++];
  }
  return at;
}

}  // namespace

std::string unescape_string(std::string_view body, int line) {
  std::string text;
  for (std::size_t i = 0; i < body.size();) {
    if (body[i] != '\\' || i + 1 == body.size()) {
      text += body[i++];
      continue;
    }
    const char c = body[i + 1];
    const std::string_view after = body.substr(i + 2);
    if (const char simple = simple_escape(c)) {
      text += simple;
      i += 2;
    } else if (c == '\n') {
      i += 2;
    } else if (c >= '0' && c <= '7') {
      i += 1 + octal_escape(body.substr(i + 1), text);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      i += 2 + hex_escape(after, c == 'x' ? 2 : c == 'u' ? 4 : 8, text, line);
    } else {
      text += '\\';  // not an escape: both characters stay
      ++i;
    }
  }
  return text;
}

NumberLiteral read_number(std::string_view text, int line) {
  int base = 10;
  if (text.size() > 2 && text[0] == '0') {
    const char kind = static_cast<char>(text[1] | 0x20);
    base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
  }
  std::string digits;
  std::size_t at = take_digits(text, base == 10 ? 0 : 2, base, digits);
  bool is_real = false;
  if (base == 10) {
    if (at + 1 < text.size() && text[at] == '.' && is_digit(text[at + 1])) {
      digits += '.';
      at = take_digits(text, at + 1, 10, digits);
      is_real = true;
    }
    const std::size_t sign = at + 1 < text.size() && (text[at + 1] == '+' || text[at + 1] == '-') ? 1 : 0;
    if (at + 1 + sign < text.size() && (text[at] | 0x20) == 'e' && is_digit(text[at + 1 + sign])) {
      digits += text.substr(at, 1 + sign);
      at = take_digits(text, at + 1 + sign, 10, digits);
      is_real = true;
    }
  }
  NumberLiteral literal{at, is_real};
  const char* begin = digits.data();
  const char* end = begin + digits.size();
  std::string without_plus;
  if (const std::size_t plus = digits.find('+'); plus != digits.npos) {
    without_plus = digits.substr(0, plus) + digits.substr(plus + 1);
    begin = without_plus.data();
    end = begin + without_plus.size();
  }
  const auto result = is_real ? std::from_chars(begin, end, literal.real)
                              : std::from_chars(begin, end, literal.integer, base);
  if (result.ec != std::errc() || result.ptr != end)
    throw Error("the number " + digits + " is out of range", line);
  return literal;
}

}  // namespace sinkstream::jinja
