#include "coordinator/api/engine_health.h"

#include <algorithm>

namespace sinkstream {

bool makes_steps(const EngineStats& stats, const EngineLimits& limits) {
  return stats.seconds_since_step < limits.stuck_seconds / 2;
}

const RankStatus* silent_rank(const EngineStats& stats) {
  const auto silent = std::ranges::find(stats.ranks, false, &RankStatus::up);
  return silent == stats.ranks.end() ? nullptr : &*silent;
}

}  // namespace sinkstream
