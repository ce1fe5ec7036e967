#include "programs/parking_room.h"

#include <algorithm>

#include "base/error.h"
#include "base/show_bytes.h"

namespace sinkstream {
namespace {

// Of the host's memory that is left, what "auto" takes at most: it becomes physical only as sessions are
// parked.
constexpr std::int64_t kAutoShare = 4;
constexpr std::int64_t kMaxAutoPlaces = 1024;
// Each is a piece of memory of its own, of which a process can't have any number.
constexpr std::int64_t kMaxPlaces = 16384;

}  // namespace

std::int64_t host_bytes_left(const Config& config, const RankSizing& rank, std::int32_t slots,
                             std::int64_t available_bytes, int local_ranks) {
  if (!slots_in_host_memory(config)) return available_host_memory(local_ranks);
  return available_bytes - rank.weight_bytes - rank.step_bytes - rank.backend_bytes -
         slots * (rank.session_bytes + rank.step_bytes_per_slot);
}

std::int32_t choose_places(const Config& config, const RankSizing& rank, std::int64_t host_bytes) {
  if (!config.parking.bytes) {
    const std::int64_t share = std::max<std::int64_t>(0, host_bytes) / kAutoShare;
    return static_cast<std::int32_t>(std::min(share / rank.session_bytes, kMaxAutoPlaces));
  }
  if (*config.parking.bytes > host_bytes) {
    throw StartupError(ExitCode::device,
                       "not enough memory on rank " + std::to_string(rank.shard.rank) +
                           "'s host: sessions.parked_bytes asks for " + show_bytes(*config.parking.bytes) +
                           " of it for each rank, and " + show_bytes(std::max<std::int64_t>(0, host_bytes)) +
                           " are left; lower it, or cache.slots");
  }
  return static_cast<std::int32_t>(std::min(*config.parking.bytes / rank.session_bytes, kMaxPlaces));
}

PlaceUse use_of_places(const Config& config, std::int32_t places) {
  constexpr std::int32_t kForSnapshots = 2;
  const bool wants_some = !config.sessions.directory.empty() && config.sessions.snapshot_bytes > 0;
  if (!wants_some || places < kForSnapshots) return {.parking = places};
  return {.parking = places - kForSnapshots, .has_snapshots = true};
}

std::string describe_places(const PlaceUse& use, std::int64_t place_bytes) {
  return "room to park " + std::to_string(use.parking) + " session(s) of " + show_bytes(place_bytes) +
         " beside the slots" + (use.has_snapshots ? ", and for two that go to disk or come from there" : "") +
         ", in the memory of each rank's host (sessions.parked_bytes)";
}

}  // namespace sinkstream
