// Copies between this host's memory and the GPU's, through pinned memory, so that neither side waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "kernels/cuda/queue/event.h"
#include "kernels/cuda/queue/pinned_memory.h"
#include "kernels/device_memory.h"

namespace sinkstream::kernels::cuda {

// What is to be uploaded waits in one of a few segments, which are used in turn.
class Uploads {
 public:
  explicit Uploads(std::size_t segment_bytes);

  // Queues the copy; `from` may change as soon as it returns. It waits only when all segments are under way.
  void add(std::span<const std::byte> from, Address to, cudaStream_t stream);

 private:
  static constexpr std::size_t kSegments = 4;

  struct Segment {
    explicit Segment(std::size_t bytes) : memory(bytes) {}
    PinnedMemory memory;
    Event copied;
  };
  void next_segment(cudaStream_t stream);

  std::vector<Segment> segments_;
  std::size_t current_ = 0;
  std::size_t used_ = 0;  // bytes of the current segment
};

// What is downloaded reaches its place when somebody waits for it.
class Downloads {
 public:
  // Queues the copy, to be finished by finish() of that mark or a later one.
  void add(Address from, std::span<std::byte> to, std::uint64_t mark, cudaStream_t stream);
  // The work up to `mark` is done.
  void finish(std::uint64_t mark);

 private:
  struct Pending {
    std::uint64_t mark;
    PinnedMemory memory;
    std::span<std::byte> to;
  };
  PinnedMemory take(std::size_t bytes);

  std::deque<Pending> pending_;
  std::vector<PinnedMemory> free_;  // as many as were ever pending at a time
};

}  // namespace sinkstream::kernels::cuda
