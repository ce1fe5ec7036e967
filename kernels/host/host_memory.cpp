#include "kernels/host/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <limits>
#include <sstream>
#include <system_error>

#include "base/error.h"
#include "base/round_up.h"

namespace sinkstream::kernels {
namespace {

constexpr std::int64_t kHugePage = 2 << 20;

// Room for `bytes`, rounded up to whole steps of `alignment`, a multiple of which is its address.
Buffer map_aligned(std::int64_t bytes, std::int64_t alignment, const std::string& purpose) {
  const auto refuse = [&](const std::string& reason) {
    throw StartupError(ExitCode::device,
                       purpose + ": needs " + std::to_string(bytes) + " bytes on this rank: " + reason);
  };
  if (bytes < 0 || bytes > std::numeric_limits<std::int64_t>::max() - 3 * alignment) {
    refuse("more than can be addressed");
  }
  if (bytes == 0) return {};
  const auto mapped = static_cast<std::size_t>(round_up(bytes, alignment) + alignment);
  void* const memory =
      mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) refuse(std::generic_category().message(errno));
  const std::shared_ptr<void> owner(memory, [mapped](void* address) { munmap(address, mapped); });
  const auto first = round_up(static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(memory)), alignment);
  return {Address{static_cast<std::uintptr_t>(first)}, bytes, owner};
}

// The first number in a file, or -1: "max" and a missing file mean no limit.
std::int64_t first_number(const char* file) {
  std::ifstream in(file);
  std::int64_t number = -1;
  return in >> number ? number : -1;
}

}  // namespace

Buffer map_memory(std::int64_t bytes, const std::string& purpose) {
  return map_aligned(bytes, sysconf(_SC_PAGESIZE), purpose);
}

std::int64_t in_huge_pages(std::int64_t bytes) {
  return bytes < kHugePage ? bytes : round_up(bytes, kHugePage);
}

Buffer map_huge_pages(std::int64_t bytes, const std::string& purpose) {
  if (bytes < kHugePage) return map_memory(bytes, purpose);
  Buffer buffer = map_aligned(bytes, kHugePage, purpose);
  madvise(reinterpret_cast<void*>(buffer.address()), static_cast<std::size_t>(in_huge_pages(bytes)),
          MADV_HUGEPAGE);
  return buffer;
}

void discard_memory(std::span<std::byte> memory) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  std::byte* const begin = memory.data();
  std::byte* const end = begin + memory.size();
  std::byte* const first_page =
      std::min(begin + (page - reinterpret_cast<std::uintptr_t>(begin) % page) % page, end);
  std::byte* const last_page = std::max(first_page, end - reinterpret_cast<std::uintptr_t>(end) % page);
  std::fill(begin, first_page, std::byte{0});
  std::fill(last_page, end, std::byte{0});
  if (first_page < last_page) {
    madvise(first_page, static_cast<std::size_t>(last_page - first_page), MADV_DONTNEED);
  }
}

std::int64_t free_host_memory() {
  std::int64_t available = 0;
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string name;
    std::int64_t kibibytes = 0;
    if (words >> name >> kibibytes && name == "MemAvailable:") available = kibibytes * 1024;
  }
  const std::int64_t limit = first_number("/sys/fs/cgroup/memory.max");
  const std::int64_t used = first_number("/sys/fs/cgroup/memory.current");
  return limit >= 0 && used >= 0 ? std::min(available, limit - used) : available;
}

}  // namespace sinkstream::kernels
