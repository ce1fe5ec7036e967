#include "text/tokenizer/steps/byte_level.h"

#include <cstdint>

#include "text/unicode/utf8.h"

namespace sinkstream {
namespace {

constexpr std::size_t kAlphabetEnd = 0x100 + 68;  // 68 bytes have no printable character of their own

std::array<char32_t, 256> make_alphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    alphabet[byte] = printable ? byte : next++;
  }
  return alphabet;
}

const std::array<std::string, 256>& alphabet_as_text() {
  static const std::array<std::string, 256> text = [] {
    std::array<std::string, 256> result;
    for (std::size_t byte = 0; byte < 256; ++byte) append_utf8(result[byte], byte_level_alphabet()[byte]);
    return result;
  }();
  return text;
}

const std::array<std::int16_t, kAlphabetEnd>& byte_of_character() {
  static const std::array<std::int16_t, kAlphabetEnd> bytes = [] {
    std::array<std::int16_t, kAlphabetEnd> result;
    result.fill(-1);
    for (std::size_t byte = 0; byte < 256; ++byte) {
      result[byte_level_alphabet()[byte]] = static_cast<std::int16_t>(byte);
    }
    return result;
  }();
  return bytes;
}

}  // namespace

const std::array<char32_t, 256>& byte_level_alphabet() {
  static const std::array<char32_t, 256> alphabet = make_alphabet();
  return alphabet;
}

void append_byte_level(std::string_view bytes, std::string& text) {
  const auto& characters = alphabet_as_text();
  for (const char byte : bytes) text += characters[static_cast<std::uint8_t>(byte)];
}

std::string from_byte_level(std::string_view text) {
  std::string bytes;
  for (std::string_view rest = text; !rest.empty();) {
    const Utf8Step step = first_character(rest);
    const bool known = step.status == Utf8Status::valid && step.code_point < kAlphabetEnd;
    const std::int16_t byte = known ? byte_of_character()[step.code_point] : std::int16_t{-1};
    if (byte < 0) return std::string(text);
    bytes.push_back(static_cast<char>(byte));
    rest.remove_prefix(step.length);
  }
  return bytes;
}

}  // namespace sinkstream
