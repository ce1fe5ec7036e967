#include "text/unicode/utf8.h"

#include <cstdint>

namespace sinkstream {
namespace {

// What a lead byte demands. The range of the second byte rules out overlong forms, surrogates and > U+10FFFF.
struct Lead {
  std::size_t length;  // 0: not a lead byte
  unsigned second_min, second_max;
  unsigned payload;
};

Lead classify(unsigned byte) {
  if (byte < 0x80) return {1, 0, 0, byte};
  if (byte < 0xC2) return {0, 0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF, byte & 0x1Fu};
  if (byte < 0xF0) return {3, byte == 0xE0 ? 0xA0u : 0x80u, byte == 0xED ? 0x9Fu : 0xBFu, byte & 0x0Fu};
  if (byte < 0xF5) return {4, byte == 0xF0 ? 0x90u : 0x80u, byte == 0xF4 ? 0x8Fu : 0xBFu, byte & 0x07u};
  return {0, 0, 0, 0};
}

}  // namespace

Utf8Step first_character(std::string_view bytes) {
  const Lead lead = classify(static_cast<std::uint8_t>(bytes[0]));
  if (lead.length == 0) return {Utf8Status::broken, 1, kReplacementCharacter};
  char32_t code_point = lead.payload;
  for (std::size_t i = 1; i < lead.length; ++i) {
    if (i == bytes.size()) return {Utf8Status::cut_short, i, kReplacementCharacter};
    const unsigned byte = static_cast<std::uint8_t>(bytes[i]);
    const unsigned min = i == 1 ? lead.second_min : 0x80;
    const unsigned max = i == 1 ? lead.second_max : 0xBF;
    if (byte < min || byte > max) return {Utf8Status::broken, i, kReplacementCharacter};
    code_point = (code_point << 6) | (byte & 0x3Fu);
  }
  return {Utf8Status::valid, lead.length, code_point};
}

std::string_view last_character(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<std::uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return text.substr(begin);
}

void append_utf8(std::string& text, char32_t code_point) {
  const auto put = [&text](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3F));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

bool is_valid_utf8(std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size();) {
    if (static_cast<std::uint8_t>(bytes[i]) < 0x80) {
      ++i;
      continue;
    }
    const Utf8Step step = first_character(bytes.substr(i));
    if (step.status != Utf8Status::valid) return false;
    i += step.length;
  }
  return true;
}

std::string to_valid_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Step step = first_character(bytes);
    if (step.status == Utf8Status::valid) {
      text.append(bytes.substr(0, step.length));
    } else {
      append_utf8(text, kReplacementCharacter);
    }
    bytes.remove_prefix(step.length);
  }
  return text;
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

}  // namespace sinkstream
