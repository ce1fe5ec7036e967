// Sink and window rules, all of them, as pure functions of positions, which count from 0 and never wrap.
// Where a position stands in memory: kernels/cache_layout.h.
//
// A token at position p attends, once each, to {0 ... S-1} and {p-W+1 ... p} as far as they are <= p
// (S sink tokens, W window tokens; Xiao et al. 2023, section 3.2). Dense attention is S = 0 with W >= every
// position.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sinkstream {

// How much of a session stays: S >= 0, W >= 1.
struct CacheWindow {
  std::int64_t sink_tokens = 0;
  std::int64_t window_tokens = 1;
  bool operator==(const CacheWindow&) const = default;
};

// First position of the window of a token at `position`.
constexpr std::int64_t window_begin(std::int64_t position, const CacheWindow& window) {
  return std::max<std::int64_t>(0, position - window.window_tokens + 1);
}

// Sinks outside the window: [0, sinks_end). Those inside it are attended as window tokens.
constexpr std::int64_t sinks_end(std::int64_t position, const CacheWindow& window) {
  return std::min(window.sink_tokens, window_begin(position, window));
}

// Where the query stands when everything that is kept is counted in order: min(p, S + W - 1).
constexpr std::int64_t position_within_cache(std::int64_t position, const CacheWindow& window) {
  return sinks_end(position, window) + (position - window_begin(position, window));
}

// A ring that lets a step write `chunk` keys before its rows attend needs W + chunk - 1 places.
constexpr std::int64_t ring_capacity(std::int64_t window_tokens, std::int64_t slack_tokens) {
  return window_tokens + slack_tokens;
}

// ---- Going back: the next token after position length - 1 is taken in again
// Whether a session can go back to its first `length` tokens, once `written` were in the ring: the most that
// it ever had, before it went back another time. What the next token attends to must still be there, that is
// in the ring (sinks are for ever), and later tokens attend to nothing older.
constexpr bool can_roll_back(std::int64_t written, std::int64_t length, const CacheWindow& window,
                             std::int64_t ring_capacity) {
  if (length < 0 || length > written) return false;
  const std::int64_t oldest_needed = window_begin(length, window);
  return oldest_needed >= written - ring_capacity || oldest_needed == length;  // none is needed
}

// What counts as `written` when it has gone back to `length`. Where nothing older is attended to any more,
// the ring begins anew.
constexpr std::int64_t written_after_roll_back(std::int64_t written, std::int64_t length,
                                               const CacheWindow& window) {
  return window_begin(length, window) == length ? length : written;
}

// How many of its newest tokens a session can always take back. One that never fills its ring, as in dense
// mode, can take back all.
constexpr std::int64_t roll_back_reach(const CacheWindow& window, std::int64_t ring_capacity) {
  return ring_capacity - window.window_tokens + 1;
}

// ---- Making a session's state anew
// What a layer stores of a token depends on the W tokens that this one attends to in the layer below. So a
// session of `length` tokens is the same, to the bit, when it takes in only its sinks and its tokens from
// some position on, `layers * (W - 1)` before the end at the latest. Those that it takes in first come out
// wrong, and by the end none of them is attended to any more.

// The fewest tokens that such a session can go back to, or have at all, when it began with the token at
// `begin` behind its sinks. With nothing left out, any number.
constexpr std::int64_t sound_from(std::int64_t begin, const CacheWindow& window, std::int64_t layers) {
  return begin <= window.sink_tokens ? 0 : begin + layers * (window.window_tokens - 1);
}

// Where to begin, so that a session of `length` tokens can then take back the newest `reach` of them:
// behind the sinks at the earliest, where nothing is left out.
constexpr std::int64_t replay_begin(std::int64_t length, std::int64_t reach, const CacheWindow& window,
                                    std::int64_t layers) {
  const std::int64_t begin = length - reach - layers * (window.window_tokens - 1);
  return std::max(std::min(window.sink_tokens, length), begin);
}

}  // namespace sinkstream
