// Reads tokens one after another.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/syntax/lexer.h"

namespace sinkstream::jinja {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& following() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  int line() const { return current().line; }

  bool at(TokenType type) const { return current().type == type; }
  bool at_symbol(std::string_view text) const { return at(TokenType::symbol) && current().text == text; }
  bool at_name(std::string_view text) const { return at(TokenType::name) && current().text == text; }

  Token next();
  bool skip_symbol(std::string_view text);
  bool skip_name(std::string_view text);
  Token expect(TokenType type);
  void expect_symbol(std::string_view text);
  void expect_name(std::string_view text);

  [[noreturn]] void fail(const std::string& message) const;

 private:
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
};

std::string describe(const Token& token);

}  // namespace sinkstream::jinja
