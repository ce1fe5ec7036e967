// A worker group of MPI processes. Only the .cpp includes mpi.h.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "parallel/communicator/communicator.h"

namespace sinkstream {

// Starts MPI (MPI_THREAD_FUNNELED: only the constructing thread talks) and ends it on destruction when the
// group is whole. A process not started by mpirun is a group of one. Where the ranks do not all start within
// `start_limit`, the process ends with exit code 5 and says which are missing.
class MpiSession {
 public:
  explicit MpiSession(std::chrono::milliseconds start_limit = std::chrono::seconds(60));
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  Communicator& communicator();
  static std::string library_version();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// True when mpirun (or a compatible launcher) started this process.
bool started_by_mpi_launcher();

}  // namespace sinkstream
