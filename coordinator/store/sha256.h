// SHA-256 (FIPS 180-4) and its HMAC (RFC 2104): what stands on the disk for what must not be read there.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace sinkstream {

using Sha256 = std::array<std::uint8_t, 32>;

Sha256 sha256(std::string_view text);
Sha256 hmac_sha256(std::string_view key, std::string_view text);

std::string to_hex(const Sha256& digest);

}  // namespace sinkstream
