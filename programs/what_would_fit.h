// What to change when a model is too large for the memory that there is.
#pragma once

#include <cstdint>
#include <string>

#include "programs/config.h"
#include "worker/model/architectures/model_config.h"

namespace sinkstream {

// For people: the changes of one setting each, or of the number of ranks, with which every rank's part fits
// in `available_bytes` (with as many slots as are asked for, or one).
std::string what_would_fit(const Config& config, const ModelConfig& model, int world_size,
                           std::int64_t available_bytes);

}  // namespace sinkstream
