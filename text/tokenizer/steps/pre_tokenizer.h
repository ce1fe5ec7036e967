// Cuts text into the pieces that are encoded each on its own.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/patterns/text_pattern.h"

namespace sinkstream {

// What becomes of matches and of the stretches between them.
enum class SplitBehavior {
  removed,               // matches are left out
  isolated,              // each is a piece of its own
  merged_with_previous,  // a match belongs to the stretch before it
  merged_with_next,      // ... after it
  contiguous,            // neighbouring matches are one piece
};

struct SplitStep {
  TextPattern pattern;
  SplitBehavior behavior;
  bool invert;  // matches and stretches between them change roles
};

// The matches are single characters.
struct CharacterSplitStep {
  bool (*matches)(char32_t);
  SplitBehavior behavior;
};

struct FixedLengthStep {
  std::size_t characters;
};

// Writes each piece in the byte-level alphabet.
struct ByteLevelStep {
  bool add_prefix_space;               // before a piece that does not begin with one
  std::optional<TextPattern> pattern;  // cuts first, as GPT-2 does
};

enum class PrependScheme { always, first, never };

// Makes spaces visible, as SentencePiece does, and cuts before each.
struct MetaspaceStep {
  std::string replacement;  // one character
  PrependScheme prepend;  // in front of pieces that do not begin with one; first: only at a text's beginning
  bool split;
  TextPattern pattern;  // the replacement
};

using PreTokenizerStep =
    std::variant<SplitStep, CharacterSplitStep, FixedLengthStep, ByteLevelStep, MetaspaceStep>;

// Stays in place while used: `text` may point into itself.
struct Pieces {
  Pieces() = default;
  Pieces(const Pieces&) = delete;
  Pieces& operator=(const Pieces&) = delete;

  struct Span {
    std::size_t begin, end;
  };
  std::string_view text;
  std::vector<Span> spans;  // of the text, in order, none empty

 private:
  friend class PieceCutter;
  std::string storage_, next_storage_;  // what `text` shows, unless it is the caller's text
  std::vector<Span> next_spans_;
  std::vector<Stretch> stretches_;
};

// Immutable after construction; any thread.
class PreTokenizer {
 public:
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps);

  // The last step writes bytes in the byte-level alphabet: that is left to the model, which gets them raw.
  bool leaves_raw_bytes() const { return leaves_raw_bytes_; }

  // `text`, valid UTF-8, must outlive `pieces`. `begins_text`: nothing stands before it in the whole text.
  // Throws std::runtime_error when a regular expression gives up.
  void run(std::string_view text, bool begins_text, Pieces& pieces) const;

 private:
  std::vector<PreTokenizerStep> steps_;
  bool leaves_raw_bytes_;
};

// The expression that the ByteLevel step cuts with.
std::string_view gpt2_pattern();

}  // namespace sinkstream
