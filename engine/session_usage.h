// What a session has seen, and what of it is still in its cache.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/cache_geometry.h"

namespace sinkstream {

struct SessionUsage {
  std::int64_t seen_tokens = 0;
  std::int64_t pinned_tokens = 0;
  std::int64_t resident_tokens = 0;
  std::int64_t evicted_tokens = 0;
  bool operator==(const SessionUsage&) const = default;
};

constexpr SessionUsage session_usage(std::int64_t seen_tokens, const CacheWindow& window) {
  const std::int64_t resident = std::min(seen_tokens, window.sink_tokens + window.window_tokens);
  return {seen_tokens, std::min(seen_tokens, window.sink_tokens), resident, seen_tokens - resident};
}

}  // namespace sinkstream
