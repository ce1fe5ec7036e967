// What the leader knows of a rank.
#pragma once

#include <cstdint>
#include <string>

namespace sinkstream {

struct RankStatus {
  int rank = 0;
  std::string host;
  bool up = false;                // heard of lately
  double step_lag_seconds = 0;    // since it last came further in its step; 0: it is idle
  std::uint64_t collectives = 0;  // those it took part in, and how long it was in them
  double collective_seconds = 0;

  bool operator==(const RankStatus&) const = default;
};

}  // namespace sinkstream
