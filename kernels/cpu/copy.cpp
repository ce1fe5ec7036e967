// Copies memory to memory.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/work.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/copy.cpp"
#include <hwy/foreach_target.h>

// Highway's header asks to come after foreach_target.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace sinkstream::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Past the caches: what is written isn't read first, and drives nothing out of them.
void stream(const std::uint8_t* from, std::uint8_t* to, std::int64_t bytes) {
  const hn::ScalableTag<std::uint8_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t vectors_at_once = 4;
  const auto misaligned = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(to)) % lanes;
  std::int64_t i = std::min(bytes, misaligned == 0 ? 0 : lanes - misaligned);
  std::memcpy(to, from, static_cast<std::size_t>(i));
  for (; i + vectors_at_once * lanes <= bytes; i += vectors_at_once * lanes) {
    const auto a = hn::LoadU(d, from + i);
    const auto b = hn::LoadU(d, from + i + lanes);
    const auto c = hn::LoadU(d, from + i + 2 * lanes);
    const auto e = hn::LoadU(d, from + i + 3 * lanes);
    hn::Stream(a, d, to + i);
    hn::Stream(b, d, to + i + lanes);
    hn::Stream(c, d, to + i + 2 * lanes);
    hn::Stream(e, d, to + i + 3 * lanes);
  }
  std::memcpy(to + i, from + i, static_cast<std::size_t>(bytes - i));
  hwy::FlushStream();
}

}  // namespace sinkstream::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sinkstream::kernels {

HWY_EXPORT(stream);

namespace {

// From so many bytes on a copy is streamed: then caches would not keep it for whoever reads it next.
constexpr std::int64_t kStreamedBytes = 4 << 20;

}  // namespace

void CpuBackend::do_copy(Address from, Address to, const Pieces& pieces) {
  constexpr std::int64_t kStepBytes = sizeof(float);
  const std::int64_t part_bytes = std::min(pieces.bytes, kStepsPerPart * kStepBytes);
  const std::int64_t parts = (pieces.bytes - 1) / part_bytes + 1;  // of a piece
  const bool streamed = pieces.bytes * pieces.count >= kStreamedBytes;
  threads_.parallel_for(pieces.count * parts, items_per_part(part_bytes / kStepBytes),
                        [&](std::int64_t begin, std::int64_t end) {
                          for (std::int64_t i = begin; i < end; ++i) {
                            const std::int64_t in_piece = i % parts * part_bytes;
                            const std::int64_t offset = i / parts * pieces.stride + in_piece;
                            const std::int64_t bytes = std::min(part_bytes, pieces.bytes - in_piece);
                            const auto* const source = host_pointer<const std::uint8_t>(from + offset);
                            auto* const target = host_pointer<std::uint8_t>(to + offset);
                            if (streamed) {
                              HWY_DYNAMIC_DISPATCH(stream)(source, target, bytes);
                            } else {
                              std::copy_n(source, bytes, target);
                            }
                          }
                        });
}

}  // namespace sinkstream::kernels
#endif
