#include "text/jinja/syntax/lexer.h"

#include <algorithm>
#include <array>

#include "text/jinja/syntax/string_literal.h"
#include "text/jinja/values/error.h"
#include "text/jinja/values/letter_case.h"
#include "text/jinja/values/strings.h"

namespace sinkstream::jinja {
namespace {

constexpr std::array<std::string_view, 6> kLongSymbols = {"//", "**", "==", "!=", ">=", "<="};
constexpr std::string_view kShortSymbols = "+-/*%~[](){}><=.:|,;";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// Line ends become \n; one at the very end is dropped.
std::string normalize_lines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_lines(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) text_and_tag();
    emit(TokenType::end, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { throw Error(message, line_); }

  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool next_is(std::string_view text) const { return rest().starts_with(text); }

  void emit(TokenType type, std::string_view text) { tokens_.push_back({type, std::string(text), line_}); }

  void advance(std::size_t count) {
    const std::string_view passed = rest().substr(0, count);
    line_ += static_cast<int>(std::count(passed.begin(), passed.end(), '\n'));
    at_ += passed.size();
    line_starting_ = passed.ends_with('\n');
  }

  void skip_blank() {
    std::size_t count = 0;
    while (at_ + count < source_.size() && is_blank(source_[at_ + count])) ++count;
    if (count > 0) advance(count);
  }

  // Template text up to the next tag, then that tag.
  void text_and_tag() {
    std::size_t begin = at_;
    while (true) {
      begin = source_.find('{', begin);
      if (begin == std::string::npos || begin + 1 >= source_.size()) return data(source_.size());
      const char kind = source_[begin + 1];
      if (kind == '%' || kind == '{' || kind == '#') return tag(begin, kind);
      ++begin;
    }
  }

  void data(std::size_t end) {
    if (end > at_) emit(TokenType::data, std::string_view(source_).substr(at_, end - at_));
    advance(end - at_);
  }

  // The text before a tag, shortened as the tag's sign or lstrip_blocks asks for.
  void data_before_tag(std::size_t begin, char sign, bool lstrip) {
    std::string_view text = std::string_view(source_).substr(at_, begin - at_);
    if (sign == '-') {
      text = strip_right(text);
    } else if (sign != '+' && lstrip) {
      const std::size_t line_begin = text.rfind('\n') + 1;
      if ((line_begin > 0 || line_starting_) && strip(text.substr(line_begin)).empty())
        text = text.substr(0, line_begin);
    }
    if (!text.empty()) emit(TokenType::data, text);
    advance(begin - at_);
  }

  void tag(std::size_t begin, char kind) {
    const char next = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
    const char sign = next == '-' || next == '+' ? next : '\0';
    data_before_tag(begin, sign, kind != '{');
    const std::size_t opening = sign == '\0' ? 2 : 3;
    if (kind == '#') {
      advance(opening);
      comment();
    } else if (kind == '%' && is_raw_tag(opening)) {
      raw();
    } else {
      emit(kind == '%' ? TokenType::block_begin : TokenType::variable_begin, "");
      advance(opening);
      inside_tag(kind == '%');
    }
  }

  void comment() {
    const std::size_t end = source_.find("#}", at_);
    if (end == std::string::npos) fail("Missing end of comment tag");
    const char sign = end > at_ ? source_[end - 1] : '\0';
    advance(end - at_);
    advance(2);
    after_block_end(sign);
  }

  // What a block's or comment's end swallows after itself.
  void after_block_end(char sign) {
    if (sign == '-') {
      skip_blank();
    } else if (sign != '+' && next_is("\n")) {
      advance(1);
    }
  }

  // Length of "<blanks>word<blanks>[-+]%}" at `at`; 0 when something else stands there. `sign` is set.
  std::size_t match_word_tag(std::size_t at, std::string_view word, char& sign) const {
    const auto skip = [&] {
      while (at < source_.size() && is_blank(source_[at])) ++at;
    };
    const std::size_t begin = at;
    skip();
    if (source_.compare(at, word.size(), word) != 0) return 0;
    at += word.size();
    skip();
    sign = at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : '\0';
    if (sign != '\0') ++at;
    return source_.compare(at, 2, "%}") == 0 ? at + 2 - begin : 0;
  }

  bool is_raw_tag(std::size_t opening) const {
    char sign = '\0';
    return match_word_tag(at_ + opening, "raw", sign) > 0 && sign != '+';
  }

  void raw() {
    char sign = '\0';
    const std::size_t opening = source_[at_ + 2] == '-' || source_[at_ + 2] == '+' ? 3 : 2;
    advance(opening + match_word_tag(at_ + opening, "raw", sign));
    if (sign == '-') skip_blank();
    for (std::size_t end = source_.find("{%", at_); end != std::string::npos;
         end = source_.find("{%", end + 1)) {
      const char next = end + 2 < source_.size() ? source_[end + 2] : '\0';
      const char end_sign = next == '-' || next == '+' ? next : '\0';
      const std::size_t end_opening = end_sign == '\0' ? 2 : 3;
      const std::size_t length = match_word_tag(end + end_opening, "endraw", sign);
      if (length == 0) continue;
      data_before_tag(end, end_sign, true);
      advance(end_opening + length);
      return after_block_end(sign);
    }
    fail("Missing end of raw directive");
  }

  void inside_tag(bool block) {
    std::vector<char> open;  // the closing brackets that are due
    const std::string_view closing = block ? "%}" : "}}";
    while (true) {
      skip_blank();
      if (at_ >= source_.size()) fail("unexpected end of template");
      if (open.empty() && tag_ends(closing, block)) return;
      const char c = source_[at_];
      if (is_digit(c)) {
        number();
      } else if (const std::size_t length = name_length()) {
        emit(TokenType::name, rest().substr(0, length));
        advance(length);
      } else if (c == '\'' || c == '"') {
        string(c);
      } else {
        symbol(open);
      }
    }
  }

  bool tag_ends(std::string_view closing, bool block) {
    const bool signed_end =
        (next_is("-") || (block && next_is("+"))) && rest().substr(1).starts_with(closing);
    if (!signed_end && !next_is(closing)) return false;
    const char sign = signed_end ? source_[at_] : '\0';
    emit(block ? TokenType::block_end : TokenType::variable_end, "");
    advance(closing.size() + (signed_end ? 1 : 0));
    if (block) {
      after_block_end(sign);
    } else if (sign == '-') {
      skip_blank();
    }
    return true;
  }

  // Of the name that begins here; 0: none does.
  std::size_t name_length() const {
    std::size_t length = 0;
    while (at_ + length < source_.size()) {
      const std::string_view letter = first_text_character(rest().substr(length));
      const bool digit = letter.size() == 1 && is_digit(letter[0]);
      if (letter != "_" && !(digit && length > 0) && !is_all_alphabetic(letter)) break;
      length += letter.size();
    }
    return length;
  }

  void symbol(std::vector<char>& open) {
    const auto known = std::find_if(kLongSymbols.begin(), kLongSymbols.end(),
                                    [this](std::string_view text) { return next_is(text); });
    if (known != kLongSymbols.end()) {
      emit(TokenType::symbol, *known);
      return advance(2);
    }
    const char c = source_[at_];
    if (kShortSymbols.find(c) == std::string_view::npos)
      fail("unexpected char " + repr(first_text_character(rest())));
    if (c == '(') open.push_back(')');
    if (c == '[') open.push_back(']');
    if (c == '{') open.push_back('}');
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty()) fail(std::string("unexpected '") + c + "'");
      if (open.back() != c) fail(std::string("unexpected '") + c + "', expected '" + open.back() + "'");
      open.pop_back();
    }
    emit(TokenType::symbol, rest().substr(0, 1));
    advance(1);
  }

  void string(char quote) {
    std::size_t length = 1;
    while (at_ + length < source_.size() && source_[at_ + length] != quote) {
      length += source_[at_ + length] == '\\' ? 2 : 1;
    }
    if (at_ + length >= source_.size()) fail("a string is not closed");
    emit(TokenType::string, unescape_string(rest().substr(1, length - 1), line_));
    advance(length + 1);
  }

  void number() {
    const bool is_element = at_ > 0 && source_[at_ - 1] == '.';  // list.0.1 has no real number in it
    const NumberLiteral literal =
        read_number(is_element ? rest().substr(0, rest().find('.')) : rest(), line_);
    emit(literal.is_real ? TokenType::real : TokenType::integer, rest().substr(0, literal.length));
    tokens_.back().integer = literal.integer;
    tokens_.back().real = literal.real;
    advance(literal.length);
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace sinkstream::jinja
