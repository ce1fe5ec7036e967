// Whether the engine is well, as /health and /metrics say it.
#pragma once

#include "engine/engine.h"

namespace sinkstream {

// False when a step has taken half as long as what counts as stuck: by then something is wrong.
bool makes_steps(const EngineStats& stats, const EngineLimits& limits);

// The first rank that has been silent for so long, if there is one.
const RankStatus* silent_rank(const EngineStats& stats);

}  // namespace sinkstream
