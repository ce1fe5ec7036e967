// Cuts text into the pieces that are encoded each on its own.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "coordinator/text/text_pattern.h"

namespace sinkstream {

// Every match and every stretch between matches is a piece.
struct SplitStep {
  TextPattern pattern;
};

// Writes each piece in the byte-level alphabet.
struct ByteLevelStep {
  bool add_prefix_space;               // before a piece that does not begin with one
  std::optional<TextPattern> pattern;  // cuts first, as GPT-2 does
};

using PreTokenizerStep = std::variant<SplitStep, ByteLevelStep>;

struct TextPieces {
  std::string text;
  std::vector<std::size_t> ends;  // of each piece; the next begins there
};

// Immutable after construction; any thread.
class PreTokenizer {
 public:
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps) : steps_(std::move(steps)) {}
  TextPieces run(std::string text) const;

 private:
  std::vector<PreTokenizerStep> steps_;
};

// The expression that the ByteLevel step cuts with.
std::string_view gpt2_pattern();

}  // namespace sinkstream
