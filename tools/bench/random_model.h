// Models of well-known shapes with random weights, for timing.
#pragma once

#include <string>
#include <vector>

#include "worker/model/tensors.h"

namespace sinkstream {

// "1.1b" (TinyLlama), "1b" (Llama 3.2), "7b" (Llama 2), "70b" (Llama 2). Throws std::invalid_argument for
// others.
ModelConfig shape_of(const std::string& name);
// For CLI::IsMember, and for its help.
const std::vector<std::string>& shape_names();
inline constexpr const char* kShapesHelp = "1.1b (TinyLlama), 1b (Llama 3.2), 7b or 70b (Llama 2)";

// A rank's weights; rows repeat, so that making them takes little time.
Weights random_weights(const ModelConfig& config, const ShardPlan& shard, kernels::WeightFormat format,
                       kernels::Backend& backend);

// Bytes of weights that a step reads: all but the embedding, of which it takes a few rows.
std::int64_t bytes_of_step(const ModelConfig& config, const ShardPlan& shard, kernels::WeightFormat format,
                           const kernels::Backend& backend);

// Multiplications and additions of a prompt's token, those of attention left out; it has no logits.
double operations_of_token(const ModelConfig& config);

}  // namespace sinkstream
