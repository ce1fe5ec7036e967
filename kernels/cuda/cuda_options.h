// What the CUDA backend is made with.
#pragma once

#include <cstdint>

namespace sinkstream::kernels {

struct CudaOptions {
  int device = 0;  // among those that the driver shows
  // Scratch of operations, which need more work in more pieces.
  std::int64_t workspace_bytes = 128 << 20;
  // Pinned host memory, of which uploads have four.
  std::int64_t upload_segment_bytes = 16 << 20;
  // Ranks talk through this host's memory, not over NCCL: they may share a GPU then.
  bool through_host = false;
  // Sums over ranks up to so many bytes go over peer memory where ranks reach each other's; 0: none.
  std::int64_t peer_sum_bytes = 128 << 10;
  // How long such a sum waits for a rank.
  std::int64_t peer_patience_ms = 60'000;
};

}  // namespace sinkstream::kernels
