// A template's source as tokens, with Jinja2's rules for white space under trim_blocks and lstrip_blocks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sinkstream::jinja {

enum class TokenType {
  data,  // template text
  variable_begin,
  variable_end,
  block_begin,
  block_end,
  name,
  string,
  integer,
  real,
  symbol,  // an operator or punctuation; `text` says which
  end,
};

struct Token {
  TokenType type;
  std::string text;  // data, name, symbol; a string without quotes and escapes
  int line;
  std::int64_t integer = 0;
  double real = 0;
};

// Always ends with a token of type `end`. Throws Error.
std::vector<Token> tokenize(std::string_view source);

}  // namespace sinkstream::jinja
