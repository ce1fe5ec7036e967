// Tokens that stand outside the model's vocabulary: they are found in the text first, longest match at the
// leftmost place, and never merged with what is around them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/text/text_pattern.h"
#include "worker/token_id.h"

namespace sinkstream {

struct AddedToken {
  TokenId id;
  std::string content;
  bool special;      // left out of decoded text unless asked for
  bool single_word;  // only where no word character touches it
  bool lstrip;       // takes the white space before it along
  bool rstrip;       // and after it
  bool normalized;   // looked for after the tokens that are not
};

// A stretch of text: an added token, or text between them (token < 0).
struct TextSpan {
  TokenId token;
  std::string_view text;
};

// Immutable after construction; any thread.
class AddedTokenMatcher {
 public:
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  // Appends the spans that make up `text` in order, none of them empty.
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
  const AddedToken* longest_at(std::string_view text) const;
  bool touches_word(std::string_view before, std::string_view after) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> trie_;
  TextPattern word_;
};

}  // namespace sinkstream
