// A hash that tells files and settings apart, not one to keep secrets with: FNV-1a, 64 bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace sinkstream {

inline constexpr std::uint64_t kEmptyFingerprint = 0xcbf29ce484222325u;

inline std::uint64_t add_to_fingerprint(std::uint64_t fingerprint, std::span<const std::byte> bytes) {
  for (const std::byte byte : bytes) {
    fingerprint = (fingerprint ^ std::to_integer<std::uint64_t>(byte)) * 0x100000001b3u;
  }
  return fingerprint;
}

inline std::uint64_t fingerprint_of(std::string_view text) {
  return add_to_fingerprint(kEmptyFingerprint, std::as_bytes(std::span(text)));
}

}  // namespace sinkstream
