// One function and one file for each architecture: config.json in, choices out.
#pragma once

#include "worker/model/config_section.h"
#include "worker/model/model_config.h"

namespace sinkstream {

ModelConfig read_llama(const ConfigSection& config);

}  // namespace sinkstream
