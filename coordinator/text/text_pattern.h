// A regular expression that cuts text into pieces.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sinkstream {

// Immutable after construction; any thread.
class TextPattern {
 public:
  // An expression in Oniguruma's syntax. Throws std::invalid_argument when it is wrong or not supported.
  static TextPattern regex(std::string_view expression);
  static TextPattern literal(std::string_view text);
  ~TextPattern();
  TextPattern(TextPattern&&) noexcept;
  TextPattern& operator=(TextPattern&&) noexcept;

  // Appends where each match and each stretch between matches ends, counted from `base`. Empty pieces are
  // left out. Throws std::runtime_error when the expression needs more steps or memory than allowed on this
  // text.
  void append_piece_ends(std::string_view valid_utf8, std::size_t base, std::vector<std::size_t>& ends) const;

  // Whether the whole text is one match.
  bool matches(std::string_view valid_utf8) const;

 private:
  struct Code;
  explicit TextPattern(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

}  // namespace sinkstream
