#include "kernels/cuda/queue/transfers.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/simt.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kSmallestDownload = 4096;

}  // namespace

Uploads::Uploads(std::size_t segment_bytes) {
  for (std::size_t i = 0; i < kSegments; ++i) segments_.emplace_back(segment_bytes);
}

void Uploads::next_segment(cudaStream_t stream) {
  segments_[current_].copied.record(stream);
  current_ = (current_ + 1) % kSegments;
  segments_[current_].copied.wait();
  used_ = 0;
}

void Uploads::add(std::span<const std::byte> from, Address to, cudaStream_t stream) {
  while (!from.empty()) {
    const std::span<std::byte> segment = segments_[current_].memory.bytes();
    const std::size_t bytes = std::min(from.size(), segment.size() - used_);
    if (bytes == 0) {
      next_segment(stream);
      continue;
    }
    std::memcpy(segment.data() + used_, from.data(), bytes);
    check(cudaMemcpyAsync(device_pointer<void>(to), segment.data() + used_, bytes, cudaMemcpyHostToDevice,
                          stream),
          "an upload");
    used_ = std::min(segment.size(), (used_ + bytes + kAlignment - 1) / kAlignment * kAlignment);
    from = from.subspan(bytes);
    to = to + static_cast<std::int64_t>(bytes);
  }
}

PinnedMemory Downloads::take(std::size_t bytes) {
  const auto fits = [&](const PinnedMemory& memory) { return memory.bytes().size() >= bytes; };
  const auto found = std::ranges::find_if(free_, fits);
  if (found == free_.end()) {
    if (!free_.empty()) free_.pop_back();  // too small; what takes its place serves both
    return PinnedMemory(std::max(bytes, kSmallestDownload));
  }
  PinnedMemory memory = *found;
  free_.erase(found);
  return memory;
}

void Downloads::add(Address from, std::span<std::byte> to, std::uint64_t mark, cudaStream_t stream) {
  if (to.empty()) return;
  pending_.push_back({mark, take(to.size()), to});
  check(cudaMemcpyAsync(pending_.back().memory.bytes().data(), device_pointer<const void>(from), to.size(),
                        cudaMemcpyDeviceToHost, stream),
        "a download");
}

void Downloads::finish(std::uint64_t mark) {
  while (!pending_.empty() && pending_.front().mark <= mark) {
    const Pending& done = pending_.front();
    std::memcpy(done.to.data(), done.memory.bytes().data(), done.to.size());
    free_.push_back(done.memory);
    pending_.pop_front();
  }
}

}  // namespace sinkstream::kernels::cuda
