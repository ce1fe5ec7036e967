// Python's literals for strings and numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sinkstream::jinja {

// What stands between the quotes, with its escapes replaced. Throws Error.
std::string unescape_string(std::string_view body, int line);

struct NumberLiteral {
  std::size_t length;  // characters read
  bool is_real;
  std::int64_t integer = 0;
  double real = 0;
};

// `text` begins with a digit. Throws Error.
NumberLiteral read_number(std::string_view text, int line);

}  // namespace sinkstream::jinja
