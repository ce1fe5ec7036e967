// How many sessions a rank can park beside those in its slots: what sessions.parked_bytes means on its host.
#pragma once

#include <cstdint>
#include <string>

#include "programs/config.h"
#include "programs/sizing.h"

namespace sinkstream {

// Bytes of its host that a rank may use for parked sessions: what it plans with, where its slots stand in the
// host's memory too, less all that it needs beside. `available_bytes`: as choose_slots() has it.
std::int64_t host_bytes_left(const Config& config, const RankSizing& rank, std::int32_t slots,
                             std::int64_t available_bytes, int local_ranks);

// Parking places for this rank, each of a session's bytes. Throws StartupError (ExitCode::device) where what
// is asked for is more than there is.
std::int32_t choose_places(const Config& config, const RankSizing& rank, std::int64_t host_bytes);

// What they are for: where sessions are kept on disk, the last two are for snapshots that come and go.
struct PlaceUse {
  std::int32_t parking = 0;
  bool has_snapshots = false;
};
PlaceUse use_of_places(const Config& config, std::int32_t places);

// For --plan, one line.
std::string describe_places(const PlaceUse& use, std::int64_t place_bytes);

}  // namespace sinkstream
