// Letters as Python's string methods see them (Unicode's full case mappings).
#pragma once

#include <string>
#include <string_view>

namespace sinkstream::jinja {

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string fold_case(std::string_view text);
std::string capitalize(std::string_view text);  // the first character in title case, the others in lower case
std::string to_title(std::string_view text);    // so every run of letters (str.title)
std::string swap_case(std::string_view text);

// Python's isalpha, isdigit...: every character is one, and there is at least one.
bool is_all_alphabetic(std::string_view text);
bool is_all_decimal(std::string_view text);
bool is_all_digits(std::string_view text);
bool is_all_numeric(std::string_view text);
bool is_all_alphanumeric(std::string_view text);
bool is_title(std::string_view text);      // every run of letters begins with a capital, and only there
bool is_all_upper(std::string_view text);  // some letter with case, none in lower case
bool is_all_lower(std::string_view text);
bool is_printable(char32_t code_point);

}  // namespace sinkstream::jinja
