// Tokens' names to text, as tokenizer.json's "decoder" says: a chain of steps over a list of strings, at
// first one for each token. It runs over a stream: what later tokens cannot change is given out at once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/patterns/text_pattern.h"
#include "text/unicode/utf8_stream.h"

namespace sinkstream {

struct ReplaceInTokens {
  TextPattern pattern;
  std::string content;
};
struct StripTokens {  // up to `start` and `stop` times `content`, at the ends of each string
  char32_t content;
  std::size_t start, stop;
};
struct ReadByteAlphabet {};  // the bytes that a name in the byte-level alphabet stands for
struct FuseBytes {};         // one string of all bytes; parts of characters become U+FFFD
struct ByteFallback {};  // names like "<0x0A>" are bytes; a run of them that is no text is a U+FFFD for each
struct FuseTokens {};    // one string of all
struct ReadMetaspace {   // spaces where the replacement stands, none at the beginning of the first token
  char32_t replacement;
  bool strip_first;
};
struct JoinWithSpaces {};  // a space between tokens

using DecoderStep = std::variant<ReplaceInTokens, StripTokens, ReadByteAlphabet, FuseBytes, ByteFallback,
                                 FuseTokens, ReadMetaspace, JoinWithSpaces>;

// Immutable after construction; any thread.
class Decoder {
 public:
  explicit Decoder(std::vector<DecoderStep> steps);

  // What the steps before the first that looks at more than one token make of a name. A stream takes names in
  // this form.
  std::string prepare(std::string_view name) const;

  // The bytes that a prepared name adds to a text that has begun; may be part of a character.
  std::string bytes_of(std::string_view prepared) const;

 private:
  friend class DecodeStream;
  std::vector<DecoderStep> steps_;
  std::size_t prepared_ = 0;  // steps that `prepare` has done
};

// The text of one stream of tokens; the pieces together are what the whole list decodes to.
class DecodeStream {
 public:
  // `continues`: text stands before the first token, which so does not begin the text.
  DecodeStream(const Decoder& decoder, bool continues);
  void push(std::string_view prepared, std::string& text);  // appends what has become certain
  void finish(std::string& text);                           // appends the rest; nothing may follow
  std::size_t held_bytes() const;                           // of what is not certain

 private:
  // Of one step.
  struct State {
    std::string held;       // of the string that is not complete
    std::string bytes;      // the run of bytes that is not complete
    bool passing = false;   // the string that is not complete is certain to stay as it is
    bool is_first = true;   // string
    std::size_t start = 0;  // how many may still be stripped from its beginning
    std::size_t stop = 0;   // how many stand at its end
    Utf8Stream characters;
  };
  // Text of step `i`'s input: it continues the string that is not complete, and completes it (`ends`).
  void feed(std::size_t i, std::string_view text, bool ends);
  void end_bytes(std::size_t i);

  void take(const ReplaceInTokens& step, std::size_t i, std::string_view text, bool ends);
  void take(const StripTokens& step, std::size_t i, std::string_view text, bool ends);
  void take(const ReadByteAlphabet& step, std::size_t i, std::string_view text, bool ends);
  void take(const FuseBytes& step, std::size_t i, std::string_view text, bool ends);
  void take(const ByteFallback& step, std::size_t i, std::string_view text, bool ends);
  void take(const FuseTokens& step, std::size_t i, std::string_view text, bool ends);
  void take(const ReadMetaspace& step, std::size_t i, std::string_view text, bool ends);
  void take(const JoinWithSpaces& step, std::size_t i, std::string_view text, bool ends);

  const Decoder* decoder_;
  std::vector<State> states_;
  std::string* output_ = nullptr;
};

}  // namespace sinkstream
