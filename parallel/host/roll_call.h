// Says which ranks of this host are missing when a group does not come together.
#pragma once

#include <string>

#include "base/file_descriptor.h"

namespace sinkstream {

// What the launcher says about this process; nothing where it was not started by OpenMPI's mpirun.
struct LaunchedAs {
  std::string job;
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  int local_size = 1;
};
LaunchedAs launched_as();

// Signs this rank in; any rank of the host can then see who is missing. Needs no MPI.
class RollCall {
 public:
  explicit RollCall(const LaunchedAs& launched);

  // What to say when the group did not come together in time; empty when another rank of this host will say
  // it.
  std::string complaint(const std::string& waited) const;

 private:
  std::string name_of(int local_rank) const;

  LaunchedAs launched_;
  FileDescriptor signed_in_;
};

}  // namespace sinkstream
