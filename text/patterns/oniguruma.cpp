#include "text/patterns/oniguruma.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <memory>
#include <stdexcept>
#include <utility>

namespace sinkstream {
namespace {

// Oniguruma's \w; PCRE2's own leaves out marks, connecting punctuation, and Latin-1's fractions and powers.
// In brackets it leaves the last out too, as [:word:] does, and [:punct:] has symbols among it.
constexpr std::string_view kBracketWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
constexpr std::string_view kBracketPunctuation = "\\p{P}\\p{S}";
constexpr std::string_view kWord =
    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}\\x{BD}\\x{BE}";

// Names that only Oniguruma knows, for \p{..} and [:..:], in lower case without spaces, - and _.
constexpr std::array<std::pair<std::string_view, std::string_view>, 43> kNames = {{
    {"alnum", "\\p{Alphabetic}\\p{Nd}"},
    {"alpha", "\\p{Alphabetic}"},
    {"closepunctuation", "\\p{Pe}"},
    {"connectorpunctuation", "\\p{Pc}"},
    {"control", "\\p{Cc}"},
    {"currencysymbol", "\\p{Sc}"},
    {"dashpunctuation", "\\p{Pd}"},
    {"decimalnumber", "\\p{Nd}"},
    {"digit", "\\p{Nd}"},
    {"enclosingmark", "\\p{Me}"},
    {"finalpunctuation", "\\p{Pf}"},
    {"format", "\\p{Cf}"},
    {"initialpunctuation", "\\p{Pi}"},
    {"letter", "\\p{L}"},
    {"letternumber", "\\p{Nl}"},
    {"lineseparator", "\\p{Zl}"},
    {"lower", "\\p{Lowercase}"},
    {"lowercaseletter", "\\p{Ll}"},
    {"mark", "\\p{M}"},
    {"mathsymbol", "\\p{Sm}"},
    {"modifierletter", "\\p{Lm}"},
    {"modifiersymbol", "\\p{Sk}"},
    {"nonspacingmark", "\\p{Mn}"},
    {"number", "\\p{N}"},
    {"openpunctuation", "\\p{Ps}"},
    {"otherletter", "\\p{Lo}"},
    {"othernumber", "\\p{No}"},
    {"otherpunctuation", "\\p{Po}"},
    {"othersymbol", "\\p{So}"},
    {"paragraphseparator", "\\p{Zp}"},
    {"privateuse", "\\p{Co}"},
    {"punct", "\\p{P}"},
    {"punctuation", "\\p{P}"},
    {"separator", "\\p{Z}"},
    {"space", "\\p{White_Space}"},
    {"spaceseparator", "\\p{Zs}"},
    {"spacingmark", "\\p{Mc}"},
    {"symbol", "\\p{S}"},
    {"titlecaseletter", "\\p{Lt}"},
    {"upper", "\\p{Uppercase}"},
    {"uppercaseletter", "\\p{Lu}"},
    {"word", kWord},
    {"xdigit", "0-9a-fA-F"},
}};

bool is_ascii_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_ascii_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_hex(std::string_view digits) {
  return !digits.empty() && digits.find_first_not_of("0123456789abcdefABCDEF") == digits.npos;
}

// The members of a class by name; empty: PCRE2 has the name itself, or nobody has.
std::string_view members_of(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (c != ' ' && c != '-' && c != '_')
      plain += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  }
  const auto found = std::find_if(kNames.begin(), kNames.end(),
                                  [&plain](const auto& entry) { return entry.first == plain; });
  return found == kNames.end() ? std::string_view() : found->second;
}

// By its bare name PCRE2 takes a script with all characters that are used in it, Oniguruma only its own.
bool is_script(std::string_view name) {
  const std::string property = "\\p{sc:" + std::string(name) + "}";
  int error = 0;
  PCRE2_SIZE offset = 0;
  const std::unique_ptr<pcre2_code, void (*)(pcre2_code*)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(property.data()), property.size(), PCRE2_UTF, &error,
                    &offset, nullptr),
      pcre2_code_free);
  return code != nullptr;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape();
      } else if (class_depth_ > 0) {
        class_character(c);
      } else if (c == '(') {
        group();
      } else if (c == '[') {
        open_class();
      } else if (c == '{') {
        interval();
      } else {
        if (c == '}') refuse_repeated_interval();
        copy(1);
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
    class_depth_ = 1;
    copy(1);
    if (next_is("^")) copy(1);
    if (next_is("]")) replace(1, "\\]");  // as the first character it stands for itself
  }

  void class_character(char c) {
    if (next_is("[:")) return posix_class();
    if (next_is("[^")) refuse("[^ inside a character class");
    if (next_is("&&")) refuse("&&");
    if (c == '[') {  // a class inside a class adds its members, which PCRE2 has no brackets for
      if (result_.ends_with('-')) refuse("-[ inside a character class");
      ++class_depth_;
      return replace(1, "");
    }
    if (c == ']' && --class_depth_ > 0) return replace(1, "");
    copy(1);
  }

  // [:alpha:] and [:^alpha:].
  void posix_class() {
    const std::size_t end = pattern_.find(":]", at_);
    const std::string_view name = pattern_.substr(at_ + 2, end == pattern_.npos ? 0 : end - at_ - 2);
    const std::string_view members = name == "punct"  ? kBracketPunctuation
                                     : name == "word" ? kBracketWord
                                                      : members_of(name);
    if (members.empty()) refuse(pattern_.substr(at_, name.size() + 4));
    replace(name.size() + 4, members);
  }

  void group() {
    for (const std::string_view opening : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:"}) {
      if (next_is(opening)) return copy(opening.size());
    }
    if (next_is("(?m:")) return replace(4, "(?s:");   // Ruby's m: a dot is also a line end
    if (next_is("(?i)") && at_ == 0) return copy(4);  // elsewhere its reach differs
    if (next_is("(?<") && is_ascii_letter(pattern_.substr(at_ + 3, 1).empty() ? ' ' : pattern_[at_ + 3])) {
      return copy(3);
    }
    if (next_is("(?") || next_is("(*")) refuse(pattern_.substr(at_, 3));
    copy(1);
  }

  // {,3} is {0,3}.
  void interval() {
    const std::size_t end = pattern_.find('}', at_);
    const bool open_below = next_is("{,") && end != pattern_.npos && end > at_ + 2 &&
                            std::all_of(pattern_.begin() + at_ + 2, pattern_.begin() + end, is_ascii_digit);
    if (open_below) return replace(2, "{0,");
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
        return members(2, class_depth_ > 0 ? kBracketWord : kWord, false);
      case 'W':
        return members(2, kWord, true);
      case 'h':
        return members(2, "0-9a-fA-F", false);
      case 'H':
        return members(2, "0-9a-fA-F", true);
      case 'b':
      case 'B':
        return word_boundary(c == 'B');
      case 'u':
        return code_point();
      case 'x':
        return hexadecimal();
      case 'p':
      case 'P':
        return property(c == 'P');
      case 'A':
      case 'z':
      case 'Z':
      case 'R':
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

  // `count` characters of the pattern stand for one of `members`, or for one that is none of them.
  void members(std::size_t count, std::string_view members, bool negated) {
    if (class_depth_ > 0 && negated) {
      refuse(std::string(pattern_.substr(at_, count)) + " inside a character class");
    }
    if (class_depth_ > 0) return replace(count, members);
    replace(count, (negated ? "[^" : "[") + std::string(members) + "]");
  }

  void word_boundary(bool negated) {
    if (class_depth_ > 0) refuse(std::string(pattern_.substr(at_, 2)) + " inside a character class");
    const std::string word = "[" + std::string(kWord) + "]";
    const std::string boundary =
        negated ? "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))"
                : "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))";
    replace(2, boundary);
  }

  // \p{..}, \p{^..} and \P{..}.
  void property(bool negated) {
    const std::size_t end = pattern_.find('}', at_);
    if (pattern_.substr(at_ + 2, 1) != "{" || end == pattern_.npos) {
      refuse(std::string(pattern_.substr(at_, 2)) + " without braces");
    }
    std::string_view name = pattern_.substr(at_ + 3, end - at_ - 3);
    if (name.starts_with('^')) {
      name.remove_prefix(1);
      negated = !negated;
    }
    if (const std::string_view named = members_of(name); !named.empty()) {
      return members(end + 1 - at_, named, negated);
    }
    const char* kind = is_script(name) ? "sc:" : "";
    replace(end + 1 - at_, (negated ? "\\P{" : "\\p{") + (kind + std::string(name)) + "}");
  }

  // \x41 and \x{1F600}. Two digits of 80 or more would be a byte, not a character.
  void hexadecimal() {
    if (const std::size_t end = pattern_.find('}', at_); next_is("\\x{") && end != pattern_.npos) {
      return copy(end + 1 - at_);
    }
    const std::string_view digits = pattern_.substr(at_ + 2, 2);
    if (digits.size() != 2 || !is_hex(digits) || digits[0] > '7') refuse(pattern_.substr(at_, 4));
    copy(4);
  }

  void code_point() {
    const std::string_view digits = pattern_.substr(at_ + 2, 4);
    if (digits.size() != 4 || !is_hex(digits)) refuse("\\u");
    replace(6, "\\x{" + std::string(digits) + "}");
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  int class_depth_ = 0;
  std::string result_;
};

}  // namespace

std::string oniguruma_to_pcre2(std::string_view pattern) {
  return Translator(pattern).run();
}

}  // namespace sinkstream
