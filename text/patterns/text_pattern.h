// What a tokenizer looks for in text: a regular expression or a literal string.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sinkstream {

// Bytes [begin, end) of a text: a match, or what is between two.
struct Stretch {
  std::size_t begin, end;
  bool match;
};

// Immutable after construction; any thread.
class TextPattern {
 public:
  // An expression in Oniguruma's syntax. Throws std::invalid_argument when it is wrong or not supported.
  static TextPattern regex(std::string_view expression);
  static TextPattern literal(std::string_view text);
  ~TextPattern();
  TextPattern(TextPattern&&) noexcept;
  TextPattern& operator=(TextPattern&&) noexcept;

  // Appends the stretches that make up the text, matches from left to right, places counted from `base`.
  // Matches may be empty; other stretches are not, except that an empty text is one. Throws
  // std::runtime_error when the expression needs more steps or memory than allowed on this text.
  void find(std::string_view valid_utf8, std::size_t base, std::vector<Stretch>& stretches) const;

  // Appends the text with every match replaced by `content`. Throws like find.
  void replace(std::string_view valid_utf8, std::string_view content, std::string& result) const;

  // Whether the whole text is one match.
  bool matches(std::string_view valid_utf8) const;

  // Of the match at the beginning of the text; none: there is no such match.
  std::optional<std::size_t> length_at_beginning(std::string_view valid_utf8) const;

  const std::string& literal_text() const;  // empty: a regular expression

 private:
  struct Code;
  explicit TextPattern(std::unique_ptr<Code> code);
  template <typename Visit>
  void for_each_match(std::string_view text, Visit visit) const;
  std::unique_ptr<Code> code_;
};

}  // namespace sinkstream
