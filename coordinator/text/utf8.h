// UTF-8, with the replacement rule of Unicode, Python ("replace") and Rust (lossy): every longest broken
// piece of a character becomes one U+FFFD.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sinkstream {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

enum class Utf8Status { valid, broken, cut_short };

struct Utf8Step {
  Utf8Status status;
  std::size_t length;   // bytes of the character, or of its broken beginning
  char32_t code_point;  // U+FFFD unless valid
};

// The first character of `bytes`, which is not empty.
Utf8Step first_character(std::string_view bytes);

void append_utf8(std::string& text, char32_t code_point);
bool is_valid_utf8(std::string_view bytes);
std::string to_valid_utf8(std::string_view bytes);

// Unicode's White_Space property.
bool is_white_space(char32_t code_point);

}  // namespace sinkstream
