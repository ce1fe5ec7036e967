// Everything a rank needs to take part in steps.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "kernels/backend.h"
#include "parallel/communicator/communicator.h"
#include "parallel/start/local_ranks.h"
#include "programs/config.h"
#include "programs/sizing.h"
#include "worker/engine/step_runner.h"
#include "worker/model/checkpoint/checkpoint.h"
#include "worker/model/model.h"
#include "worker/snapshots/snapshot_files.h"

namespace sinkstream {

struct Rank {
  std::unique_ptr<kernels::Backend> backend;
  std::unique_ptr<Model> model;
  PlanLimits limits;
  std::int64_t slot_bytes = 0;               // of a session, on all ranks together
  std::string model_fingerprint;
  std::string arithmetic;                    // what decides the bits of what is computed
  std::int32_t parking_places = 0;           // of those in the limits
  std::unique_ptr<SnapshotFiles> snapshots;  // null: none are kept
  std::unique_ptr<StepRunner> runner;
};

// Of all that makes it the model that it is.
std::string model_fingerprint(const Checkpoint& checkpoint, const ModelConfig& config);

// Collective. Binds this rank's CPUs, settles the numbers of slots and parking places with the other ranks,
// makes sure that all see the same model and settings, loads this rank's slice and logs what was loaded.
// Throws the same StartupError on every rank.
Rank load_rank(Communicator& group, const Config& config, const ModelConfig& model_config,
               const Checkpoint& checkpoint, const SessionSizing& sessions, const LocalRanks& local,
               const std::function<void(std::int64_t done, std::int64_t total)>& progress);

}  // namespace sinkstream
