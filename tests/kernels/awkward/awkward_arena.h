// Memory at addresses that nobody may touch: what stands there is kept at a constant distance.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/device_memory.h"

namespace sinkstream::kernels {

// Addresses never repeat. Each piece of memory ends before a page that may not be touched either.
class AwkwardArena {
 public:
  AwkwardArena();
  ~AwkwardArena();
  AwkwardArena(const AwkwardArena&) = delete;
  AwkwardArena& operator=(const AwkwardArena&) = delete;

  // Zeroed. Throws StartupError (ExitCode::device) beyond the arena's end.
  Address allocate(std::int64_t bytes, const std::string& purpose);
  // From then on also the memory itself may not be touched.
  void release(Address address, std::int64_t bytes);
  // Where that which `address` stands for is kept; an address that is not given out stands for itself.
  Address kept(Address address) const;

 private:
  std::byte* given_out_ = nullptr;
  std::byte* kept_ = nullptr;
  std::int64_t used_ = 0;
};

}  // namespace sinkstream::kernels
