// This host's memory: mapped, given back, and how much of it is free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "kernels/device_memory.h"

namespace sinkstream::kernels {

// Zeroed memory that costs nothing until it is written. Throws StartupError (ExitCode::device) when there is
// none; `purpose` begins its message.
Buffer map_memory(std::int64_t bytes, const std::string& purpose);

// The same, in huge pages where it fills one, so that a matrix product misses the TLB less.
Buffer map_huge_pages(std::int64_t bytes, const std::string& purpose);
// What that takes up: whole huge pages if it fills one.
std::int64_t in_huge_pages(std::int64_t bytes);

// Zeroes, and gives whole pages back to the system.
void discard_memory(std::span<std::byte> memory);

// Bytes that this process's host, or its cgroup, may still give out.
std::int64_t free_host_memory();

}  // namespace sinkstream::kernels
