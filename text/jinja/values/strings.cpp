#include "text/jinja/values/strings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja/values/letter_case.h"
#include "text/unicode/utf8.h"

namespace sinkstream::jinja {
namespace {

bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

std::string_view last_text_character(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while (begin > 0 && is_continuation(text[begin])) --begin;
  return text.substr(begin);
}

bool is_stripped(std::string_view character, std::optional<std::string_view> chars) {
  return chars ? chars->find(character) != std::string_view::npos
               : is_space(first_character(character).code_point);
}

bool is_line_end(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

std::vector<std::string_view> split_at_space(std::string_view text, std::int64_t max) {
  std::vector<std::string_view> parts;
  for (text = strip_left(text); !text.empty(); text = strip_left(text)) {
    if (max >= 0 && static_cast<std::int64_t>(parts.size()) == max) {
      parts.push_back(text);
      break;
    }
    std::size_t end = 0;
    while (end < text.size() && !is_space(first_character(text.substr(end)).code_point)) {
      end += first_character(text.substr(end)).length;
    }
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

std::vector<std::string_view> split_at_space_from_right(std::string_view text, std::int64_t max) {
  std::vector<std::string_view> parts;
  for (text = strip_right(text); !text.empty(); text = strip_right(text)) {
    if (max >= 0 && static_cast<std::int64_t>(parts.size()) == max) {
      parts.push_back(text);
      break;
    }
    std::size_t begin = text.size();
    while (begin > 0) {
      const std::string_view last = last_text_character(text.substr(0, begin));
      if (is_space(first_character(last).code_point)) break;
      begin -= last.size();
    }
    parts.push_back(text.substr(begin));
    text = text.substr(0, begin);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

bool is_space(char32_t c) {
  return is_white_space(c) || (c >= 0x1C && c <= 0x1F);
}

std::string_view first_text_character(std::string_view text) {
  return text.substr(0, first_character(text).length);
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> result;
  for (; !text.empty(); text.remove_prefix(result.back().size()))
    result.push_back(first_text_character(text));
  return result;
}

std::size_t length(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); }));
}

std::size_t byte_offset(std::string_view text, std::size_t code_points) {
  std::size_t at = 0;
  for (; code_points > 0 && at < text.size(); --code_points) at += first_character(text.substr(at)).length;
  return at;
}

std::string_view strip_left(std::string_view text, std::optional<std::string_view> chars) {
  while (!text.empty() && is_stripped(first_text_character(text), chars)) {
    text.remove_prefix(first_text_character(text).size());
  }
  return text;
}

std::string_view strip_right(std::string_view text, std::optional<std::string_view> chars) {
  while (!text.empty() && is_stripped(last_text_character(text), chars)) {
    text.remove_suffix(last_text_character(text).size());
  }
  return text;
}

std::string_view strip(std::string_view text, std::optional<std::string_view> chars) {
  return strip_right(strip_left(text, chars), chars);
}

std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator,
                                    std::int64_t max) {
  if (!separator) return split_at_space(text, max);
  std::vector<std::string_view> parts;
  while (max < 0 || static_cast<std::int64_t>(parts.size()) < max) {
    const std::size_t at = text.find(*separator);
    if (at == std::string_view::npos) break;
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator->size());
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split_from_right(std::string_view text,
                                               std::optional<std::string_view> separator, std::int64_t max) {
  if (!separator) return split_at_space_from_right(text, max);
  std::vector<std::string_view> parts;
  while (max < 0 || static_cast<std::int64_t>(parts.size()) < max) {
    const std::size_t at = text.rfind(*separator);
    if (at == std::string_view::npos) break;
    parts.push_back(text.substr(at + separator->size()));
    text = text.substr(0, at);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    std::size_t end = 0;
    while (end < text.size() && !is_line_end(first_character(text.substr(end)).code_point)) {
      end += first_character(text.substr(end)).length;
    }
    std::size_t next = end;
    if (next < text.size()) next += first_character(text.substr(next)).length;
    if (text.substr(end).starts_with("\r\n")) ++next;
    lines.push_back(text.substr(0, keep_ends ? next : end));
    text.remove_prefix(next);
  }
  return lines;
}

std::string replace(std::string_view text, std::string_view old, std::string_view by, std::int64_t max) {
  std::string result;
  while (max != 0) {
    std::size_t at = 0;
    std::size_t next = old.size();
    if (old.empty()) {  // before every character and at the end
      result += by;
      if (text.empty()) return result;
      next = first_text_character(text).size();
      result += text.substr(0, next);
    } else {
      at = text.find(old);
      if (at == std::string_view::npos) break;
      result += text.substr(0, at);
      result += by;
      next += at;
    }
    text.remove_prefix(next);
    if (max > 0) --max;
  }
  return result += text;
}

std::size_t count(std::string_view text, std::string_view part) {
  if (part.empty()) return length(text) + 1;
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size()))
    ++found;
  return found;
}

void append_escape(std::string& text, char kind, std::size_t digits, char32_t value) {
  std::array<char, 8> buffer;
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), static_cast<std::uint32_t>(value), 16).ptr;
  const auto written = static_cast<std::size_t>(end - buffer.data());
  text += '\\';
  text += kind;
  text.append(digits - written, '0');
  text.append(buffer.data(), written);
}

std::string repr(std::string_view text) {
  const bool doubles = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = doubles ? '"' : '\'';
  std::string result(1, quote);
  for (; !text.empty(); text.remove_prefix(first_text_character(text).size())) {
    const char32_t c = first_character(text).code_point;
    if (c == U'\n') {
      result += "\\n";
    } else if (c == U'\r') {
      result += "\\r";
    } else if (c == U'\t') {
      result += "\\t";
    } else if (c == U'\\' || c == static_cast<char32_t>(quote)) {
      result += '\\';
      result += static_cast<char>(c);
    } else if (is_printable(c)) {
      result += first_text_character(text);
    } else if (c < 0x100) {
      append_escape(result, 'x', 2, c);
    } else if (c < 0x10000) {
      append_escape(result, 'u', 4, c);
    } else {
      append_escape(result, 'U', 8, c);
    }
  }
  return result += quote;
}

std::string format_real(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  std::array<char, 400> buffer;
  const double size = std::fabs(number);
  const bool scientific = size != 0 && (size < 1e-4 || size >= 1e16);
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number,
                                 scientific ? std::chars_format::scientific : std::chars_format::fixed)
                       .ptr;
  std::string text(buffer.data(), end);
  if (!scientific && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string escape_html(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&#34;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

}  // namespace sinkstream::jinja
