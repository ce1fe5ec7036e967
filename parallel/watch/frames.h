// The watchdogs' messages on the wire (base/wire.h): two bytes say how long the frame is, which follows.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "parallel/watch/rank_report.h"

namespace sinkstream::watch {

using Token = std::array<char, 32>;

struct Hello {  // a rank to the leader, first of all
  Token token{};
  std::uint32_t rank = 0;
  bool operator==(const Hello&) const = default;
};
struct Welcome {  // the leader's answer
  bool operator==(const Welcome&) const = default;
};
struct Goodbye {  // this side ends in good order
  bool operator==(const Goodbye&) const = default;
};
struct Drain {  // a rank asks the leader to end in good order
  bool operator==(const Drain&) const = default;
};
struct Lost {  // the group is lost
  std::string message;
  bool operator==(const Lost&) const = default;
};
using Frame = std::variant<Hello, Welcome, RankReport, Goodbye, Drain, Lost>;

inline constexpr std::size_t kMaxFrame = 2048;

// A text with which the frame would be longer is cut.
std::string encode(Frame frame);

// Cuts a stream of bytes into frames. Once a frame is malformed, nothing more comes and broken() is true.
class FrameReader {
 public:
  void append(std::string_view bytes);
  std::optional<Frame> next();
  bool broken() const { return broken_; }

 private:
  std::string buffer_;
  bool broken_ = false;
};

}  // namespace sinkstream::watch
