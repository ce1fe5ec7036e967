// The tensors that a checkpoint of this architecture and these sizes must hold.
#pragma once

#include <cstdint>
#include <string>

#include "worker/model/checkpoint.h"
#include "worker/model/model_config.h"

namespace sinkstream {

// A linear layer as the checkpoint holds it: "<name>.weight" [out, in] and, with `bias`, "<name>.bias" [out].
struct StoredLinear {
  std::string name;
  std::int64_t out_features;
  std::int64_t in_features;
  bool bias;

  Range all_rows() const { return {0, out_features}; }
  Range all_columns() const { return {0, in_features}; }
};

// Decoder layer `index`, at its whole sizes.
struct StoredLayer {
  std::string attention_norm;
  StoredLinear query, key, value, attention_out;
  std::string mlp_norm;
  StoredLinear gate, up, down;

  StoredLayer(const ModelConfig& config, std::int64_t index);
};

// Refuses a checkpoint that lacks a tensor, has one in another shape, or has one that config.json leaves out:
// a bias, or another layer. Throws StartupError (ExitCode::model) naming the tensor.
void check_tensors(const Checkpoint& checkpoint, const ModelConfig& config);

}  // namespace sinkstream
