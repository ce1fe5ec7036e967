// How much of a host backend's memory is backed by physical memory.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/device_memory.h"

namespace sinkstream::kernels {

// Of the pages that hold `bytes` from `begin` on; -1 when it can't be told.
inline std::int64_t resident_bytes(Address begin, std::size_t bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const auto first = static_cast<std::uintptr_t>(begin) / page * page;
  std::vector<unsigned char> pages(bytes / page + 1);
  if (mincore(reinterpret_cast<void*>(first), bytes, pages.data()) != 0) return -1;
  return std::ranges::count_if(pages, [](unsigned char p) { return p & 1; }) *
         static_cast<std::int64_t>(page);
}

}  // namespace sinkstream::kernels
