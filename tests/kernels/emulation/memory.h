// Memory of emulated GPUs, and pinned memory of the host. On the device an access beside what was allocated
// faults, or is reported by asan; what was freed is gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

namespace sinkstream::kernels::cuda::emulation {

class Memory {
 public:
  enum class Kind : std::uint8_t { device, pinned };

  static Memory& instance();

  // Null when there is no more. Full of kPoison.
  void* allocate(std::size_t bytes, Kind kind, int device);
  // False when it is none of them.
  bool release(void* memory, Kind kind);

  // Does [memory, memory + bytes) lie within one allocation of the kind?
  bool contains(const void* memory, std::size_t bytes, Kind kind) const;
  // The device whose memory begins there; -1: none does.
  int device_of(const void* memory) const;
  // Does it begin in one?
  bool is(const void* memory, Kind kind) const { return contains(memory, 0, kind); }

  std::size_t free_bytes(int device) const;
  std::size_t total_bytes() const;
  std::size_t allocated_bytes() const;
  std::uint64_t allocations() const;

  void set_total(std::size_t bytes);
  void fail_allocation(int n);

 private:
  struct Allocation {
    std::size_t bytes;
    Kind kind;
    int device;
    void* pages;  // what the system gave
    std::size_t page_bytes;
  };

  std::size_t used(int device) const;

  mutable std::mutex mutex_;
  std::map<std::uintptr_t, Allocation> allocations_;
  std::size_t total_ = std::size_t{8} << 30;
  std::uint64_t count_ = 0;
  int fails_in_ = 0;
};

}  // namespace sinkstream::kernels::cuda::emulation
