// GPT-2's alphabet: every byte has a printable character of its own, so that any bytes can be written as text
// in a vocabulary ("Ġthe" is " the").
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace sinkstream {

// The character of each byte.
const std::array<char32_t, 256>& byte_level_alphabet();

void append_byte_level(std::string_view bytes, std::string& text);

// The bytes that a vocabulary string stands for. A string with any character outside the alphabet stands for
// itself, as in the `tokenizers` library.
std::string from_byte_level(std::string_view text);

}  // namespace sinkstream
