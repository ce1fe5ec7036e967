// For parsers that read files.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace sinkstream::fuzz {

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// In memory where the system has such a place: a fuzzer writes many thousand files a second.
inline std::filesystem::path scratch_place() {
  return std::filesystem::exists("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path();
}

// What an expectation of a target that does not hold ends in.
[[noreturn]] inline void broken(const char* what) {
  std::fprintf(stderr, "expectation broken: %s\n", what);
  std::abort();
}

}  // namespace sinkstream::fuzz
