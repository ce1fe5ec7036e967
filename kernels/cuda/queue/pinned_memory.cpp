#include "kernels/cuda/queue/pinned_memory.h"

#include "kernels/cuda/cuda_error.h"

namespace sinkstream::kernels::cuda {

PinnedMemory::PinnedMemory(std::size_t bytes) {
  void* memory = nullptr;
  check(cudaMallocHost(&memory, bytes), "pinned host memory");
  owner_ = {memory, [](void* pinned) { cudaFreeHost(pinned); }};
  bytes_ = {static_cast<std::byte*>(memory), bytes};
}

}  // namespace sinkstream::kernels::cuda
