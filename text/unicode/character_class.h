// Properties of characters, as the `tokenizers` library sees them.
#pragma once

#include <string>

namespace sinkstream {

bool is_numeric(char32_t code_point);         // Nd, Nl, No
bool is_punctuation(char32_t code_point);     // ASCII punctuation and symbols, and P*
bool is_combining_mark(char32_t code_point);  // M*

// The lower case of one character on its own, in UTF-8.
void append_lower_case(std::string& text, char32_t code_point);

}  // namespace sinkstream
