// Joins bytes that come in parts into whole UTF-8 characters.
#pragma once

#include <string>
#include <string_view>

namespace sinkstream {

// The pieces together equal to_valid_utf8 of all the bytes.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);  // what has become certain
  std::string finish();                      // the rest; an incomplete character becomes U+FFFD
  std::size_t held_bytes() const { return pending_.size(); }

 private:
  std::string pending_;
};

}  // namespace sinkstream
