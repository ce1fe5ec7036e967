// One function and one file for each architecture: config.json in, choices out.
#pragma once

#include "worker/model/architectures/config_section.h"
#include "worker/model/architectures/model_config.h"

namespace sinkstream {

ModelConfig read_llama(const ConfigSection& file);
ModelConfig read_mistral(const ConfigSection& file);
ModelConfig read_qwen2(const ConfigSection& file);
ModelConfig read_mpt(const ConfigSection& file);
ModelConfig read_falcon(const ConfigSection& file);
ModelConfig read_gpt_neox(const ConfigSection& file);

}  // namespace sinkstream
