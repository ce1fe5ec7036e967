#pragma once

#include <cstdint>

namespace sinkstream {

// A token's number in the vocabulary. Negative values are never tokens.
using TokenId = std::int32_t;

}  // namespace sinkstream
