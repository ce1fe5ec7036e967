// The tensors that a checkpoint of this architecture and these sizes must hold.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "worker/model/architectures/model_config.h"
#include "worker/model/checkpoint/checkpoint.h"

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

// A norm: "<name>.weight" [features] and, with `bias`, "<name>.bias" [features].
struct StoredNorm {
  std::string name;
  std::int64_t features;
  bool bias;

  Range all() const { return {0, features}; }
};

// Decoder layer `index`, at its whole sizes.
struct StoredLayer {
  StoredNorm attention_norm;
  StoredLinear query, key, value;  // one tensor or three (QkvLayout)
  std::optional<StoredNorm> query_norm, key_norm;
  StoredLinear attention_out;
  std::optional<StoredNorm> mlp_norm;
  std::optional<StoredLinear> gate;
  StoredLinear up, down;

  StoredLayer(const ModelConfig& config, std::int64_t index);

  // What there is of each kind.
  std::vector<const StoredNorm*> norms() const;
  std::vector<const StoredLinear*> linears() const;
};

// The embedding under the name that it has here: a tied one may be stored as the LM head alone.
StoredLinear stored_embedding(const Checkpoint& checkpoint, const ModelConfig& config);
StoredLinear stored_lm_head(const ModelConfig& config);
StoredNorm stored_final_norm(const ModelConfig& config);

// Refuses a checkpoint that lacks a tensor, has one in another shape, or has one that config.json leaves out:
// a bias, another layer, a norm of another architecture. Throws StartupError (ExitCode::model) naming the
// tensor.
void check_tensors(const Checkpoint& checkpoint, const ModelConfig& config);

}  // namespace sinkstream
