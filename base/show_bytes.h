// Sizes for people.
#pragma once

#include <cstdint>
#include <string>

namespace sinkstream {

// In binary units, with one decimal from KiB on: "17 B", "1.5 KiB", "138.0 GiB".
std::string show_bytes(std::int64_t bytes);

}  // namespace sinkstream
