// How sessions share a step's prompt tokens.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sinkstream {

// Evenly, so that a short prompt never waits for a long one; what some leave over the others take, the first
// of them first. The shares' sum is at most `budget`, each at most what is wanted.
std::vector<std::int64_t> prefill_shares(std::span<const std::int64_t> wanted, std::int64_t budget);

}  // namespace sinkstream
