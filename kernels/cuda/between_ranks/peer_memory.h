// Memory of each rank's GPU that the kernels of all ranks write to: over NVLink or PCIe where they have GPUs
// of their own, through CUDA's handles between processes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "parallel/communicator/communicator.h"

namespace sinkstream::kernels::cuda {

// Where a rank runs, which says how it can be reached.
struct PeerPlace {
  std::string host;          // equal only for processes that may share memory
  std::int64_t process = 0;  // of the host

  static PeerPlace of_this_process();
};

class PeerMemory {
 public:
  // `bytes`, zeroed, of this thread's current GPU and every other rank's. Every rank calls it; where it can't
  // be on one of them, all throw StartupError, which says why. Uses `group` only here.
  static std::unique_ptr<PeerMemory> share(Communicator& group, std::int64_t bytes, const PeerPlace& place);
  ~PeerMemory();

  std::byte* of_rank(int rank) const {
    return static_cast<std::byte*>(of_ranks_[static_cast<std::size_t>(rank)].get());
  }

 private:
  PeerMemory() = default;

  std::vector<std::shared_ptr<void>> of_ranks_;
};

}  // namespace sinkstream::kernels::cuda
