// What the tools share that hold one session on the same steps as the server: a group that loads a model with
// one slot.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/communicator/communicator.h"
#include "parallel/start/local_ranks.h"
#include "programs/config.h"
#include "programs/rank.h"
#include "programs/sizing.h"

namespace sinkstream {

struct OneSession {
  Config config;
  ModelConfig model;
  SessionSizing sizing;
  LocalRanks local;
  std::unique_ptr<Communicator> over_group;  // what carries sums, if it isn't the group's own
};

// Collective. Reads the configuration and sizes the session; loads nothing. `group` must outlive it.
OneSession size_one_session(Communicator& group, const std::string& config,
                            const std::vector<std::string>& overrides);
// Collective.
Rank load_one_session(Communicator& group, const OneSession& session);

const char* name_of(CacheMode mode);

// Starts MPI and the log, runs the tool, and gives its exit code; the leader tells what went wrong.
int run_in_group(const std::string& tool, const std::function<void(Communicator&)>& run);

}  // namespace sinkstream
