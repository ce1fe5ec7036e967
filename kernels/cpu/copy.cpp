// Copies memory to memory.
#include <algorithm>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/work.h"

namespace sinkstream::kernels {

void CpuBackend::do_copy(Address from, Address to, const Pieces& pieces) {
  constexpr std::int64_t kStepBytes = sizeof(float);
  const std::int64_t part_bytes = std::min(pieces.bytes, kStepsPerPart * kStepBytes);
  const std::int64_t parts = (pieces.bytes - 1) / part_bytes + 1;  // of a piece
  threads_.parallel_for(pieces.count * parts, items_per_part(part_bytes / kStepBytes),
                        [&](std::int64_t begin, std::int64_t end) {
                          for (std::int64_t i = begin; i < end; ++i) {
                            const std::int64_t in_piece = i % parts * part_bytes;
                            const std::int64_t offset = i / parts * pieces.stride + in_piece;
                            std::copy_n(host_pointer<const std::byte>(from + offset),
                                        std::min(part_bytes, pieces.bytes - in_piece),
                                        host_pointer<std::byte>(to + offset));
                          }
                        });
}

}  // namespace sinkstream::kernels
