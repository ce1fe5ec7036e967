// Durations in messages.
#pragma once

#include <chrono>
#include <string>

namespace sinkstream {

// "10 s", "1.5 s"
inline std::string in_seconds(std::chrono::milliseconds time) {
  const auto tenths = time.count() / 100;
  std::string text = std::to_string(tenths / 10);
  if (tenths % 10 != 0) text += '.' + std::to_string(tenths % 10);
  return text + " s";
}

}  // namespace sinkstream
