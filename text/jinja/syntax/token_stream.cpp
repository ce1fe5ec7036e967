#include "text/jinja/syntax/token_stream.h"

#include <utility>

#include "text/jinja/values/error.h"

namespace sinkstream::jinja {
namespace {

std::string describe(TokenType type) {
  switch (type) {
    case TokenType::data:
      return "template data / text";
    case TokenType::variable_begin:
      return "begin of print statement";
    case TokenType::variable_end:
      return "end of print statement";
    case TokenType::block_begin:
      return "begin of statement block";
    case TokenType::block_end:
      return "end of statement block";
    case TokenType::name:
      return "name";
    case TokenType::string:
      return "string";
    case TokenType::integer:
      return "integer";
    case TokenType::real:
      return "float";
    case TokenType::symbol:
      return "symbol";
    case TokenType::end:
      return "end of template";
  }
  return "token";
}

}  // namespace

std::string describe(const Token& token) {
  const bool named = token.type == TokenType::name || token.type == TokenType::symbol;
  return named ? token.text : describe(token.type);
}

Token TokenStream::next() {
  Token token = current();
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool TokenStream::skip_symbol(std::string_view text) {
  if (!at_symbol(text)) return false;
  next();
  return true;
}

bool TokenStream::skip_name(std::string_view text) {
  if (!at_name(text)) return false;
  next();
  return true;
}

Token TokenStream::expect(TokenType type) {
  if (!at(type)) fail("expected token '" + describe(type) + "', got '" + jinja::describe(current()) + "'");
  return next();
}

void TokenStream::expect_symbol(std::string_view text) {
  if (!skip_symbol(text)) {
    fail("expected token '" + std::string(text) + "', got '" + jinja::describe(current()) + "'");
  }
}

void TokenStream::expect_name(std::string_view text) {
  if (!skip_name(text)) {
    fail("expected token '" + std::string(text) + "', got '" + jinja::describe(current()) + "'");
  }
}

void TokenStream::fail(const std::string& message) const {
  throw Error(message, line());
}

}  // namespace sinkstream::jinja
