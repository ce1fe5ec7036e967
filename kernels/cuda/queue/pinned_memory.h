// Host memory that the GPU copies from and to by itself.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace sinkstream::kernels::cuda {

class PinnedMemory {
 public:
  // Throws CudaError.
  explicit PinnedMemory(std::size_t bytes);

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::shared_ptr<void> owner_;
  std::span<std::byte> bytes_;
};

}  // namespace sinkstream::kernels::cuda
