// How many token events a choice may send ahead of what its answer has taken.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace sinkstream {

// Counts token events from the choice's first one on. One is settled when nothing of it is in doubt: its text
// is told, and no stop string will take it back.
class CreditWindow {
 public:
  // So many may come beyond those that are settled; at least one.
  explicit CreditWindow(std::int64_t window)
      : window_(std::max<std::int64_t>(window, 1)), granted_(window_) {}

  std::int64_t granted() const { return granted_; }

  // What to grant now, in all: seldom, but before the choice has to wait. Whatever is settled, a choice that
  // has used up its credit gets more: tokens without text may go on for ever before anything is certain.
  std::optional<std::int64_t> renew(std::int64_t received, std::int64_t settled) {
    const std::int64_t left = granted_ - received;
    const std::int64_t more = std::max(settled + window_, received + 1) - granted_;
    const bool in_time = more >= window_ / 4 ? left <= window_ / 2 : left <= window_ / 8;
    if (more <= 0 || !in_time) return std::nullopt;
    return granted_ += more;
  }

 private:
  std::int64_t window_;
  std::int64_t granted_;
};

}  // namespace sinkstream
