// Turns a stream of tokens into a stream of text that never splits a character nor shows part of a stop
// string.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/token_ends.h"
#include "text/tokenizer/tokenizer.h"

namespace sinkstream {

// Holds back the longest suffix that may be the beginning of a stop string. The stop string that is complete
// first wins; of several that end together, the longest. Time is linear in the text.
//
// Text may be hidden: special tokens that are not shown. Stop strings that name a special token are matched
// with the hidden text in its place, all others as if it were not there.
class StopMatcher {
 public:
  // Empty stop strings are ignored. `include`: the stop string is shown too.
  explicit StopMatcher(const std::vector<std::string>& stops,
                       const std::vector<std::string>& special_names = {}, bool include = false);

  // Text that can be shown. After a match (`matched()`) nothing more comes. `may_match`: false, a stop string
  // that is complete within this text ends nothing.
  std::string push(std::string_view text, bool may_match = true) { return push(text, may_match, false); }
  std::string push_hidden(std::string_view text, bool may_match = true) {
    return push(text, may_match, true);
  }
  std::string finish();  // what was held back and did not become a stop string

  bool matched() const { return matched_; }
  bool sees_hidden() const { return max_hidden_ > 0; }  // some stop string names a special token
  bool undecided() const;  // a stop string may have begun, shown or hidden; or it is complete

  // How far the text is told: not a byte behind this place is shown, nor is one before it, shown or hidden,
  // part of a stop string that is left out.
  const StreamPlace& told() const { return told_; }
  // How many bytes have been shown of what stands behind `end`, a place before told() at the end of text.
  std::size_t shown_behind(const StreamPlace& end) const;

 private:
  struct Stop {
    std::string text;
    std::vector<std::size_t> border;  // [n]: the longest proper prefix of text[0, n) that is also its suffix
    bool sees_hidden = false;
    std::size_t matched = 0;  // length of the longest prefix of `text` that the stream ends with
  };
  static Stop prepare(const std::string& text, const std::vector<std::string>& special_names);
  static void advance(Stop& stop, char byte);
  std::string complete(const Stop& stop);
  std::string push(std::string_view text, bool may_match, bool hidden);
  const Stop* take(char byte, bool may_match, bool hidden);
  void remember(bool hidden);
  void hold_back();                                   // what may be the beginning of a stop string
  std::size_t visible_bytes(const Stop& stop) const;  // of what it has matched

  std::vector<Stop> stops_;
  std::string held_;             // visible text
  std::size_t max_hidden_ = 0;   // length of the longest stop string that sees hidden text
  std::vector<bool> is_hidden_;  // of the stream's last bytes, at least max_hidden_ if there were so many
  StreamPlace taken_;            // up to the end of the stop string that is complete
  StreamPlace told_;
  bool include_;
  bool matched_ = false;
  bool shows_hidden_ = false;  // the stop string that is shown, as far as it was hidden
};

struct TextStreamOptions {
  std::vector<std::string> stops;
  bool include_stop = false;  // the stop string is shown too
  bool skip_special_tokens = true;
  bool continues_text = false;  // text stands before the first token: nothing is stripped from its beginning
};

// Tokens in, text out: special tokens are left out unless asked for. The pieces together equal
// Tokenizer::decode of all the tokens, up to a stop string.
class TextStream {
 public:
  explicit TextStream(const Tokenizer& tokenizer, const TextStreamOptions& options = {});
  // The text that can be shown now; nothing more after a stop string.
  std::string push(TokenId token, bool may_stop = true);
  std::string finish();  // the rest
  bool stopped() const { return stops_.matched(); }
  bool undecided() const { return stops_.undecided(); }  // what came last may belong to a stop string

  // The largest number of first tokens whose text lies wholly within what was shown; hidden tokens that
  // belong to a stop string which is not shown come behind them. What was shown is the text of those tokens,
  // and then pending_text(): as much of the next ones as was shown too.
  std::int64_t told_tokens() const { return ends_.told_tokens(); }
  const std::string& pending_text() const { return pending_text_; }

 private:
  std::string push_text(std::string_view certain, bool may_stop);
  std::string push_hidden(TokenId token, bool may_stop);
  std::string tell(std::string text);

  const Tokenizer& tokenizer_;
  const bool skip_special_tokens_;
  bool has_begun_;                      // some text stands before what comes next
  std::optional<TextDecoder> decoder_;  // always there; a new one begins after hidden text
  StopMatcher stops_;
  TokenEnds ends_;
  std::string pending_text_;
};

}  // namespace sinkstream
