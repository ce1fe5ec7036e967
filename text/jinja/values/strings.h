// Strings as Python has them: sequences of code points, kept as valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sinkstream::jinja {

bool is_space(char32_t code_point);  // Python's str.isspace
std::string_view first_text_character(std::string_view text);
std::vector<std::string_view> characters(std::string_view text);
std::size_t length(std::string_view text);  // in code points
// Where the code point with this number begins; the end of the text when there are fewer.
std::size_t byte_offset(std::string_view text, std::size_t code_points);

// `chars`: the set of characters to take off; white space when there is none.
std::string_view strip_left(std::string_view text, std::optional<std::string_view> chars = std::nullopt);
std::string_view strip_right(std::string_view text, std::optional<std::string_view> chars = std::nullopt);
std::string_view strip(std::string_view text, std::optional<std::string_view> chars = std::nullopt);

// At most `max` cuts (negative: any number). Without a separator at runs of white space. `separator` is not
// empty.
std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator,
                                    std::int64_t max);
std::vector<std::string_view> split_from_right(std::string_view text,
                                               std::optional<std::string_view> separator, std::int64_t max);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends = false);
std::string replace(std::string_view text, std::string_view old, std::string_view by, std::int64_t max = -1);
std::size_t count(std::string_view text, std::string_view part);

// \xhh, \uhhhh...: `value` in so many hexadecimal digits.
void append_escape(std::string& text, char kind, std::size_t digits, char32_t value);
std::string repr(std::string_view text);  // Python's repr
std::string format_real(double number);   // Python's repr
std::string escape_html(std::string_view text);

}  // namespace sinkstream::jinja
