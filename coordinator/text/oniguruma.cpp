#include "coordinator/text/oniguruma.h"

#include <stdexcept>

namespace sinkstream {
namespace {

// Oniguruma's \w; PCRE2's own leaves out marks and connecting punctuation.
constexpr std::string_view kWordProperties = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

bool is_ascii_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_ascii_digit(char c) {
  return c >= '0' && c <= '9';
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_character(c);
      } else if (c == '(') {
        group();
      } else {
        if (c == '}') refuse_repeated_interval();
        copy(1);
        if (c == '[') open_class();
      }
    }
    return std::move(result_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw std::invalid_argument("\"" + std::string(what) + "\" at character " + std::to_string(at_ + 1) +
                                " of the regular expression is not supported");
  }

  void copy(std::size_t count) {
    result_ += pattern_.substr(at_, count);
    at_ += count;
  }

  void replace(std::size_t count, std::string_view text) {
    result_ += text;
    at_ += count;
  }

  bool next_is(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }

  void open_class() {
    in_class_ = true;
    if (next_is("^")) copy(1);
    if (next_is("]")) copy(1);  // as the first character it stands for itself
  }

  void class_character(char c) {
    if (c == '[') refuse("[ inside a character class");
    if (next_is("&&")) refuse("&&");
    if (c == ']') in_class_ = false;
    copy(1);
  }

  void group() {
    for (const std::string_view opening : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:"}) {
      if (next_is(opening)) return copy(opening.size());
    }
    if (next_is("(?") || next_is("(*")) refuse(pattern_.substr(at_, 3));
    copy(1);
  }

  // {1,3}+ repeats the interval in Ruby and makes it possessive in PCRE2.
  void refuse_repeated_interval() const {
    if (pattern_.substr(at_ + 1).starts_with("+")) refuse("}+");
  }

  void escape() {
    if (at_ + 1 == pattern_.size()) refuse("\\");
    const char c = pattern_[at_ + 1];
    switch (c) {
      case 's':
        return replace(2, "\\p{White_Space}");
      case 'S':
        return replace(2, "\\P{White_Space}");
      case 'd':
        return replace(2, "\\p{Nd}");
      case 'D':
        return replace(2, "\\P{Nd}");
      case 'v':
        return replace(2, "\\x0B");
      case 'w':
        return word(false);
      case 'W':
        return word(true);
      case 'u':
        return code_point();
      case 'p':
      case 'P':
      case 'x':
        return braced();
      case 'A':
      case 'z':
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
        return copy(2);
      default:
        if (is_ascii_letter(c) || is_ascii_digit(c)) refuse(pattern_.substr(at_, 2));
        return copy(2);
    }
  }

  void word(bool negated) {
    if (in_class_ && negated) refuse("\\W inside a character class");
    if (in_class_) return replace(2, kWordProperties);
    replace(2, (negated ? "[^" : "[") + std::string(kWordProperties) + "]");
  }

  // \p{..}, \P{..} and \x{..}.
  void braced() {
    const std::size_t end = pattern_.find('}', at_);
    if (pattern_.substr(at_ + 2, 1) != "{" || end == pattern_.npos) {
      refuse(std::string(pattern_.substr(at_, 2)) + " without braces");
    }
    copy(end + 1 - at_);
  }

  void code_point() {
    const std::string_view digits = pattern_.substr(at_ + 2, 4);
    if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos)
      refuse("\\u");
    replace(6, "\\x{" + std::string(digits) + "}");
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  bool in_class_ = false;
  std::string result_;
};

}  // namespace

std::string oniguruma_to_pcre2(std::string_view pattern) {
  return Translator(pattern).run();
}

}  // namespace sinkstream
