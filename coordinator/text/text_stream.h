// Turns a stream of tokens into a stream of text that never splits a character nor shows part of a stop
// string.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/text/tokenizer.h"

namespace sinkstream {

// Joins token bytes into whole UTF-8 characters. The pieces together equal Tokenizer::decode of all the
// tokens.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);  // what has become certain
  std::string finish();                      // the rest; an incomplete character becomes U+FFFD
 private:
  std::string pending_;
};

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

// Tokens in, text out: special tokens are left out unless asked for.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, const std::vector<std::string>& stops,
             bool skip_special_tokens = true);
  std::string push(TokenId token);  // the text that can be shown now; nothing more after a stop string
  std::string finish();             // the rest
  bool stopped() const { return stops_.matched(); }

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_tokens_;
  Utf8Stream utf8_;
  StopMatcher stops_;
};

}  // namespace sinkstream
