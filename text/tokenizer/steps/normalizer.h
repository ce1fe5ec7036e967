// Rewrites text before it is cut into pieces.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/patterns/text_pattern.h"
#include "text/unicode/normal_form.h"

namespace sinkstream {

struct PrependStep {
  std::string text;  // in front of text that is not empty
};
struct ReplaceStep {
  TextPattern pattern;
  std::string content;
};
struct StripSpaceStep {
  bool left, right;
};
struct LowercaseStep {};
struct StripAccentsStep {};   // leaves out combining marks
struct CleanControlsStep {};  // "Nmt": leaves out control characters, makes white space of others
struct ByteAlphabetStep {};   // writes every byte in the byte-level alphabet

using NormalizerStep = std::variant<NormalForm, PrependStep, ReplaceStep, StripSpaceStep, LowercaseStep,
                                    StripAccentsStep, CleanControlsStep, ByteAlphabetStep>;

// Immutable after construction; any thread.
class Normalizer {
 public:
  explicit Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {}
  bool empty() const { return steps_.empty(); }

  struct Result {
    std::string text;
    bool same_beginning;  // the text begins with what was made of its first character
  };
  // Valid UTF-8 in and out. Throws std::runtime_error when a regular expression gives up.
  Result run(std::string text) const;

  // What becomes of text in the middle of other text: nothing is put in front of it or stripped.
  std::string run_inside(std::string text) const;

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace sinkstream
