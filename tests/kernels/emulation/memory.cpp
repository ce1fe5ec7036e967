#include "tests/kernels/emulation/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace sinkstream::kernels::cuda::emulation {
namespace {

constexpr int kPoison = 0xff;           // NaN as a float, -1 as an integer
constexpr std::size_t kAlignment = 16;  // a GPU's is 256, but no access needs more

#ifdef __SANITIZE_ADDRESS__

// asan watches over malloc's.
void* take(std::size_t bytes, void*& pages, std::size_t& /*page_bytes*/) {
  if (posix_memalign(&pages, kAlignment, bytes) != 0) return nullptr;
  return pages;
}
void give_back(void* pages, std::size_t /*page_bytes*/) {
  free(pages);
}

#else

std::size_t whole_pages(std::size_t bytes) {
  static const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

// It ends, but for its alignment, at a page that nobody may touch.
void* take(std::size_t bytes, void*& pages, std::size_t& page_bytes) {
  const std::size_t guard = whole_pages(1);
  page_bytes = whole_pages(bytes) + guard;
  pages =
      mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  auto* const end = static_cast<std::byte*>(pages) + page_bytes - guard;
  if (mprotect(end, guard, PROT_NONE) != 0) {
    munmap(pages, page_bytes);
    return nullptr;
  }
  return end - (bytes + kAlignment - 1) / kAlignment * kAlignment;
}
void give_back(void* pages, std::size_t page_bytes) {
  munmap(pages, page_bytes);
}

#endif

}  // namespace

Memory& Memory::instance() {
  static auto* const memory = new Memory;  // never gone: streams may be used until the very end
  return *memory;
}

void* Memory::allocate(std::size_t bytes, Kind kind, int device) {
  const std::lock_guard lock(mutex_);
  ++count_;
  if (fails_in_ > 0 && --fails_in_ == 0) return nullptr;
  if (kind == Kind::device && bytes > total_ - used(device)) return nullptr;
  Allocation allocation{bytes, kind, device, nullptr, 0};
  void* const memory = take(bytes, allocation.pages, allocation.page_bytes);
  if (memory == nullptr) return nullptr;
  std::memset(memory, kPoison, bytes);
  allocations_.emplace(reinterpret_cast<std::uintptr_t>(memory), allocation);
  return memory;
}

bool Memory::release(void* memory, Kind kind) {
  const std::lock_guard lock(mutex_);
  const auto found = allocations_.find(reinterpret_cast<std::uintptr_t>(memory));
  if (found == allocations_.end() || found->second.kind != kind) return false;
  give_back(found->second.pages, found->second.page_bytes);
  allocations_.erase(found);
  return true;
}

bool Memory::contains(const void* memory, std::size_t bytes, Kind kind) const {
  const std::lock_guard lock(mutex_);
  const auto begin = reinterpret_cast<std::uintptr_t>(memory);
  auto found = allocations_.upper_bound(begin);
  if (found == allocations_.begin()) return false;
  --found;
  const std::uintptr_t end = found->first + found->second.bytes;
  return found->second.kind == kind && begin <= end && bytes <= end - begin && (bytes > 0 || begin < end);
}

int Memory::device_of(const void* memory) const {
  const std::lock_guard lock(mutex_);
  const auto found = allocations_.find(reinterpret_cast<std::uintptr_t>(memory));
  return found != allocations_.end() && found->second.kind == Kind::device ? found->second.device : -1;
}

std::size_t Memory::used(int device) const {
  std::size_t bytes = 0;
  for (const auto& [address, allocation] : allocations_) {
    if (allocation.kind == Kind::device && allocation.device == device) bytes += allocation.bytes;
  }
  return bytes;
}

std::size_t Memory::free_bytes(int device) const {
  const std::lock_guard lock(mutex_);
  return total_ - used(device);
}

std::size_t Memory::total_bytes() const {
  const std::lock_guard lock(mutex_);
  return total_;
}

std::size_t Memory::allocated_bytes() const {
  const std::lock_guard lock(mutex_);
  std::size_t bytes = 0;
  for (const auto& [address, allocation] : allocations_) bytes += allocation.bytes;
  return bytes;
}

std::uint64_t Memory::allocations() const {
  const std::lock_guard lock(mutex_);
  return count_;
}

void Memory::set_total(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  total_ = bytes;
}

void Memory::fail_allocation(int n) {
  const std::lock_guard lock(mutex_);
  fails_in_ = n;
}

}  // namespace sinkstream::kernels::cuda::emulation
