// A worker group on one host, whose ranks meet in memory that they share.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "parallel/communicator/communicator.h"
#include "parallel/host/shared_region.h"

namespace sinkstream {

std::size_t shared_memory_bytes(int ranks);  // half a mebibyte a rank
// Once, before any rank has a communicator in it.
void prepare_shared_memory(std::span<std::byte> bytes, int ranks);

// The rank of `base`, which must outlive it and ends with it (abort). The region is the same memory on all
// ranks, shared_memory_bytes long and prepared.
std::unique_ptr<Communicator> make_shared_memory_communicator(Communicator& base, SharedRegion region);

}  // namespace sinkstream
