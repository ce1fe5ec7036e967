// UTF-8, with the replacement rule of Unicode, Python ("replace") and Rust (lossy): every longest broken
// piece of a character becomes one U+FFFD.
#pragma once

#include <cstddef>
#include <cstdint>
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

// The character at byte `at` of valid UTF-8; `at` moves behind it.
inline char32_t next_character(std::string_view valid_utf8, std::size_t& at) {
  const auto byte = [valid_utf8](std::size_t i) {
    return char32_t{static_cast<std::uint8_t>(valid_utf8[i])};
  };
  const char32_t lead = byte(at++);
  if (lead < 0x80) return lead;
  char32_t code_point = lead & (lead < 0xE0 ? 0x1F : lead < 0xF0 ? 0x0F : 0x07);
  for (int more = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3; more > 0; --more) {
    code_point = (code_point << 6) | (byte(at++) & 0x3F);
  }
  return code_point;
}

std::string_view last_character(std::string_view valid_utf8);  // of a text that is not empty
void append_utf8(std::string& text, char32_t code_point);
bool is_valid_utf8(std::string_view bytes);
std::string to_valid_utf8(std::string_view bytes);

// Unicode's White_Space property.
bool is_white_space(char32_t code_point);

}  // namespace sinkstream
