// What a rank says about itself, and how ranks are named in messages.
#pragma once

#include <cstdint>
#include <string>

namespace sinkstream::watch {

enum class RankState : std::uint8_t { idle, working, waiting };

struct RankReport {
  RankState state = RankState::idle;
  std::uint64_t step = 0;
  std::uint64_t progress = 0;     // grows whenever the rank says anything new
  std::uint64_t collectives = 0;  // those that it has waited in, and for how long
  std::uint64_t collective_microseconds = 0;
  std::uint64_t starved_milliseconds = 0;  // since its progress grew: what its host had no CPU for
  std::string what;

  bool operator==(const RankReport&) const = default;
};

struct RankIdentity {
  int rank = 0;
  int pid = 0;
  std::string host;
  bool on_this_host = false;  // its pid means something here
};

inline std::string name_of(const RankIdentity& rank) {
  return "rank " + std::to_string(rank.rank) + " (pid " + std::to_string(rank.pid) + " on " + rank.host + ")";
}

}  // namespace sinkstream::watch
