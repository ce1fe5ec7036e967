// Tokens that stand outside the model's vocabulary: they are found in the text first, longest match at the
// leftmost place, and never merged with what is around them.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/token_id.h"
#include "text/patterns/text_pattern.h"

namespace sinkstream {

struct AddedToken {
  TokenId id;
  std::string content;
  bool special;             // left out of decoded text unless asked for
  bool single_word;         // only where no word character touches it
  bool lstrip;              // takes the white space before it along
  bool rstrip;              // and after it
  bool normalized;          // looked for in normalized text
  std::string normal = {};  // what is looked for then: the content, normalized
};

// A stretch of text: an added token, or text between them (token < 0).
struct TextSpan {
  TokenId token;
  std::string_view text;
};

// Finds those added tokens that are normalized, or those that are not. Immutable after construction; any
// thread.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher(const std::vector<AddedToken>& tokens, bool normalized);

  // Appends the spans that make up `text` in order. None is empty, but the spans of tokens may overlap: a
  // token whose content begins with white space is found also where another has taken that along. Time is
  // linear in the text.
  void split(std::string_view text, std::vector<TextSpan>& spans) const;

 private:
  struct Edge {
    char byte;
    std::size_t node;
  };
  struct Node {
    std::vector<Edge> edges;
    std::optional<std::size_t> token;  // that ends here
  };
  struct Match {
    const AddedToken* token;
    std::size_t length;
  };
  Match longest_at(std::string_view text) const;  // token: null if there is none
  bool touches_word(std::string_view before, std::string_view after) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> trie_;
  std::array<bool, 256> first_bytes_ = {};
  TextPattern word_;
};

}  // namespace sinkstream
