// What stands in for the memory of a slot.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <random>
#include <vector>

#include "worker/snapshots/snapshot_file.h"

namespace sinkstream {

struct SavedState {
  std::vector<std::byte> memory;

  explicit SavedState(unsigned seed, std::size_t bytes = 3000) : memory(bytes) {
    std::mt19937 random(seed);
    std::ranges::generate(memory, [&] { return static_cast<std::byte>(random()); });
  }
  // Pieces of odd sizes, with gaps between them.
  PartsToFill parts() {
    const std::span<std::byte> all(memory);
    const std::size_t third = all.size() / 3;
    return {all.first(third), all.subspan(third + 1, 1), all.subspan(third + 5)};
  }
  SavedParts saved() {
    const PartsToFill all = parts();
    return {all.begin(), all.end()};
  }
  bool holds(SavedState& other) {
    const PartsToFill mine = parts(), theirs = other.parts();
    return std::ranges::equal(mine, theirs, [](auto a, auto b) { return std::ranges::equal(a, b); });
  }
};

inline Snapshot snapshot_of(std::uint64_t session, std::int64_t seen = 50) {
  return {.name = {.session = session, .save = 9}, .window = {4, 28}, .seen = seen, .written = seen + 2};
}

}  // namespace sinkstream
