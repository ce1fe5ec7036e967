// Sums of few elements without NCCL: every rank writes its elements into all ranks' memory and adds what it
// gets, in one kernel that a graph may hold. Latency is that of one write to a peer and of one launch; the
// bytes are those of a gather, so large sums are better done otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "kernels/cuda/between_ranks/exchange.h"
#include "kernels/cuda/between_ranks/peer_memory.h"

namespace sinkstream::kernels::cuda {

struct PeerOptions {
  std::int64_t most_bytes = 128 << 10;  // of a sum that goes this way; 0: none does
  // For a rank that does not come; then the group can only end.
  std::chrono::milliseconds patience{60'000};
  std::chrono::milliseconds first_patience{10'000};  // of the first sums, which are to show that it works
  PeerPlace place = PeerPlace::of_this_process();
};

// Everything else goes by way of `large`, and sums too where ranks don't reach each other's memory:
// description() says why. For this thread's current GPU. Uses `group` only here.
std::unique_ptr<Exchange> make_peer_exchange(std::unique_ptr<Exchange> large, Communicator& group,
                                             const PeerOptions& options);

}  // namespace sinkstream::kernels::cuda
