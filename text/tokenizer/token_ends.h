// Where the tokens of a stream end in its text, and so which of them a reader has been told whole.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

namespace sinkstream {

// A place in a stream some of whose text may be hidden: how many bytes stand before it.
struct StreamPlace {
  std::int64_t visible = 0;
  std::int64_t all = 0;  // hidden ones too
  bool operator==(const StreamPlace&) const = default;
};

// The text of the first n tokens is all that was certain when the n-th had come, and the rest that would have
// followed if none had come after it: part of a character becomes U+FFFD then. Whether the stream goes on
// with that rest, only what becomes certain later shows.
class TokenEnds {
 public:
  void add_text(std::string_view certain);
  void add_hidden(std::size_t bytes);
  // A token ends here. No `rest`: nobody knows it, and the stream is never cut behind this token.
  void end_token(std::optional<std::string> rest);

  // The text before this place is told, as far as it is visible; it never moves back.
  void tell(const StreamPlace& told);

  // All of it is, and nothing comes any more.
  void tell_all();

  // The largest number of first tokens whose text lies wholly within what is told.
  std::int64_t told_tokens() const { return told_tokens_; }
  const StreamPlace& told_end() const { return told_end_; }  // where the last of them ends

 private:
  struct End {
    std::int64_t tokens;
    StreamPlace certain;
    std::string rest;
    StreamPlace place() const;
  };
  bool is_told(const End& end) const;

  std::deque<End> ends_;  // behind the last told one, in order
  std::string
      recent_;  // certain visible text from `recent_begin_` on, where the first of `ends_` has its rest
  std::int64_t recent_begin_ = 0;
  StreamPlace certain_;
  StreamPlace told_;
  std::int64_t tokens_ = 0;
  std::int64_t told_tokens_ = 0;
  StreamPlace told_end_;
};

}  // namespace sinkstream
