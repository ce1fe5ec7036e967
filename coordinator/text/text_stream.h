// Turns a stream of tokens into a stream of text that never splits a character nor shows part of a stop
// string.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/text/tokenizer.h"

namespace sinkstream {

// Holds back the longest suffix that may be the beginning of a stop string. The stop string that is complete
// first wins; of several that end together, the longest. Time is linear in the text.
class StopMatcher {
 public:
  explicit StopMatcher(const std::vector<std::string>& stops);  // empty ones are ignored
  // Text that can be shown. After a match (`matched()`) nothing more comes; the stop string itself never
  // does.
  std::string push(std::string_view text);
  std::string finish();  // what was held back and did not become a stop string
  bool matched() const { return matched_; }

 private:
  struct Stop {
    std::string text;
    std::vector<std::size_t> border;  // [n]: the longest proper prefix of text[0, n) that is also its suffix
    std::size_t matched = 0;          // length of the longest prefix of `text` that the stream ends with
  };
  static Stop prepare(const std::string& text);
  static void advance(Stop& stop, char byte);

  std::vector<Stop> stops_;
  std::string held_;
  bool matched_ = false;
};

// Tokens in, text out: special tokens are left out unless asked for. The pieces together equal
// Tokenizer::decode of all the tokens, up to a stop string.
class TextStream {
 public:
  // `continues_text`: text stands before the first token, so nothing is stripped from its beginning.
  TextStream(const Tokenizer& tokenizer, const std::vector<std::string>& stops,
             bool skip_special_tokens = true, bool continues_text = false);
  std::string push(TokenId token);  // the text that can be shown now; nothing more after a stop string
  std::string finish();             // the rest
  bool stopped() const { return stops_.matched(); }

 private:
  TextDecoder decoder_;
  StopMatcher stops_;
};

}  // namespace sinkstream
