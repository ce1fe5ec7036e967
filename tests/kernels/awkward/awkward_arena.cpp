#include "tests/kernels/awkward/awkward_arena.h"

#include <sys/mman.h>

#include <cerrno>
#include <system_error>

#include "base/error.h"

namespace sinkstream::kernels {
namespace {

constexpr std::int64_t kArenaBytes = std::int64_t{1} << 36;  // of addresses, not of memory
constexpr std::int64_t kPage = 64 << 10;                     // a multiple of every system's
constexpr std::int64_t kAlignment = 8;                       // of any element, tighter than a vector

std::byte* reserve() {
  void* const memory =
      mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  return static_cast<std::byte*>(memory);
}

std::int64_t whole_pages(std::int64_t bytes) {
  return (bytes + kPage - 1) / kPage * kPage;
}

}  // namespace

AwkwardArena::AwkwardArena() : given_out_(reserve()), kept_(reserve()) {}

AwkwardArena::~AwkwardArena() {
  munmap(given_out_, kArenaBytes);
  munmap(kept_, kArenaBytes);
}

Address AwkwardArena::allocate(std::int64_t bytes, const std::string& purpose) {
  if (bytes == 0) return Address::none;
  if (bytes < 0 || bytes > kArenaBytes - 2 * kPage - used_) {
    throw StartupError(ExitCode::device, purpose + ": needs " + std::to_string(bytes) +
                                             " bytes on this rank: more than the arena has left");
  }
  const std::int64_t pages = whole_pages(bytes);
  if (mprotect(kept_ + used_, static_cast<std::size_t>(pages), PROT_READ | PROT_WRITE) != 0) {
    throw std::system_error(errno, std::generic_category(), "mprotect");
  }
  const std::int64_t first = used_ + pages - (bytes + kAlignment - 1) / kAlignment * kAlignment;
  used_ += pages + kPage;
  return Address{reinterpret_cast<std::uintptr_t>(given_out_ + first)};
}

void AwkwardArena::release(Address address, std::int64_t bytes) {
  if (bytes == 0) return;
  const std::int64_t offset = reinterpret_cast<std::byte*>(address) - given_out_;
  std::byte* const first_page = kept_ + offset / kPage * kPage;
  const auto size = static_cast<std::size_t>(whole_pages(bytes));
  madvise(first_page, size, MADV_DONTNEED);
  mprotect(first_page, size, PROT_NONE);
}

Address AwkwardArena::kept(Address address) const {
  const std::intptr_t offset =
      static_cast<std::intptr_t>(address) - reinterpret_cast<std::intptr_t>(given_out_);
  if (offset < 0 || offset >= kArenaBytes) return address;
  return address + (reinterpret_cast<std::intptr_t>(kept_) - reinterpret_cast<std::intptr_t>(given_out_));
}

}  // namespace sinkstream::kernels
