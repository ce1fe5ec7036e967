// A session's state as it is kept in files, one on each rank, so that it can be taken up where it stood
// instead of being made anew from tokens.
#pragma once

#include <cstdint>
#include <tuple>

#include "base/cache_geometry.h"
#include "base/shared_fields.h"
#include "base/wire.h"

namespace sinkstream {

// Which it is. There is one of each session at most, and the next replaces it.
struct SnapshotName {
  std::uint64_t session = 0;  // of all whose snapshots stand in one directory
  std::uint64_t save = 0;     // never given twice
  bool operator==(const SnapshotName&) const = default;
};

struct Snapshot {
  SnapshotName name;
  CacheWindow window;
  std::int64_t seen = 0;        // tokens taken in
  std::int64_t written = 0;     // the most that stood in the ring, from where it went back to `seen`
  std::int64_t sound_from = 0;  // the fewest tokens that it can go back to (base/cache_geometry.h)
  bool operator==(const Snapshot&) const = default;
};

auto fields(wire::Is<SnapshotName> auto& name) {
  auto& [session, save] = name;
  return std::tie(session, save);
}

auto fields(wire::Is<Snapshot> auto& snapshot) {
  auto& [name, window, seen, written, sound_from] = snapshot;
  return std::tie(name, window, seen, written, sound_from);
}

}  // namespace sinkstream
