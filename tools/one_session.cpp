#include "tools/one_session.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "parallel/communicator/mpi_communicator.h"
#include "parallel/start/affinity.h"
#include "parallel/start/together.h"
#include "programs/rank_communicator.h"

namespace sinkstream {

OneSession size_one_session(Communicator& group, const std::string& config,
                            const std::vector<std::string>& overrides) {
  OneSession session;
  session.config = make_together(group, [&] { return load_config(config, overrides); });
  session.config.cache.slots = 1;
  session.model = make_together(group, [&] { return read_model_config(session.config.model.path); });
  session.sizing = make_together(group, [&] { return size_sessions(session.config, session.model); });
  session.local = find_local_ranks(group);
  session.over_group = rank_communicator(group, session.config, session.local);
  return session;
}

Rank load_one_session(Communicator& group, const OneSession& session) {
  const auto checkpoint = make_together(group, [&] { return Checkpoint(session.config.model.path); });
  return load_rank(session.over_group ? *session.over_group : group, session.config, session.model,
                   checkpoint, session.sizing, session.local, [](std::int64_t, std::int64_t) {});
}

const char* name_of(CacheMode mode) {
  return mode == CacheMode::sink ? "sink" : mode == CacheMode::window ? "window" : "dense";
}

int run_in_group(const std::string& tool, const std::function<void(Communicator&)>& run) {
  bind_to_cpus(allowed_cpus());  // before MPI starts threads, which would stay where mpirun bound us
  MpiSession mpi;
  Communicator& group = mpi.communicator();
  spdlog::set_default_logger(spdlog::stderr_logger_mt(tool));
  if (!group.is_leader()) spdlog::set_level(spdlog::level::warn);
  try {
    run(group);
    return 0;
  } catch (const StartupError& error) {
    if (group.is_leader()) spdlog::error("{}", error.what());
    return static_cast<int>(error.code());
  }
}

}  // namespace sinkstream
