// Vector loads that widen to float32, and partial vectors that never touch memory beyond their elements.
// Included once per instruction set (Highway's convention), hence the odd include guard.
#if defined(SINKSTREAM_KERNELS_LOAD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SINKSTREAM_KERNELS_LOAD_INL_H
#undef SINKSTREAM_KERNELS_LOAD_INL_H
#else
#define SINKSTREAM_KERNELS_LOAD_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "kernels/types.h"

HWY_BEFORE_NAMESPACE();
namespace sinkstream::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using FloatVector = hn::Vec<Floats>;
inline constexpr std::int64_t kLanes = hn::MaxLanes(Floats());

HWY_INLINE FloatVector load(const float* from) {
  return hn::LoadU(Floats(), from);
}

HWY_INLINE FloatVector load(const bfloat16* from) {
  const hn::Rebind<std::uint16_t, Floats> halves;
  const hn::Rebind<std::uint32_t, Floats> words;
  const auto bits = hn::PromoteTo(words, hn::LoadU(halves, &from->bits));
  return hn::BitCast(Floats(), hn::ShiftLeft<16>(bits));
}

HWY_INLINE FloatVector load(const std::int8_t* from) {
  const hn::Rebind<std::int8_t, Floats> bytes;
  const hn::Rebind<std::int32_t, Floats> words;
  return hn::ConvertTo(Floats(), hn::PromoteTo(words, hn::LoadU(bytes, from)));
}

// The first `count` < kLanes elements, then zeros.
template <typename T>
HWY_INLINE FloatVector load_partial(const T* from, std::int64_t count) {
  T padded[kLanes] = {};
  std::copy_n(from, count, padded);
  return load(padded);
}

HWY_INLINE void store(FloatVector values, float* to) {
  hn::StoreU(values, Floats(), to);
}

HWY_INLINE void store_partial(FloatVector values, float* to, std::int64_t count) {
  float all[kLanes];
  store(values, all);
  std::copy_n(all, count, to);
}

// The two ways to reach memory, so that a loop over whole vectors and its tail can share their body.
struct Whole {
  template <typename T>
  HWY_INLINE FloatVector load(const T* from) const {
    return HWY_NAMESPACE::load(from);
  }
  HWY_INLINE void store(FloatVector values, float* to) const { HWY_NAMESPACE::store(values, to); }
};

struct Partial {
  std::int64_t count;
  template <typename T>
  HWY_INLINE FloatVector load(const T* from) const {
    return load_partial(from, count);
  }
  HWY_INLINE void store(FloatVector values, float* to) const { store_partial(values, to, count); }
};

// Sum of the lanes, always in the same order.
HWY_INLINE float sum_of_lanes(FloatVector values) {
  return hn::GetLane(hn::SumOfLanes(Floats(), values));
}

// Those of four vectors at once, to out[0] ... out[3]. Each is added up as above, halves first, then theirs;
// what the four do together takes a third of the instructions.
template <class D = Floats, int kCount = kLanes>
HWY_INLINE void store_sums_of_lanes(const hn::Vec<D> (&values)[4], float* out) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  const D d;
  const auto folded = [d](hn::Vec<D> low, hn::Vec<D> high) {
    return hn::Add(hn::ConcatLowerLower(d, high, low), hn::ConcatUpperUpper(d, high, low));
  };
  // Of [a, b, c, d], a and c in half a vector each, b and d.
  const auto ac = folded(values[0], values[2]), bd = folded(values[1], values[3]);
  if constexpr (kCount == 16) {  // then in a block of four lanes each
    auto sums = hn::Add(hn::OddEvenBlocks(hn::SwapAdjacentBlocks(bd), ac),
                        hn::OddEvenBlocks(bd, hn::SwapAdjacentBlocks(ac)));
    sums = hn::Add(sums, hn::Shuffle1032(sums));
    sums = hn::Add(sums, hn::Shuffle2301(sums));
    alignas(64) static constexpr std::int32_t kFirstOfBlocks[kCount] = {0, 4, 8, 12};
    const auto gathered = hn::TableLookupLanes(sums, hn::SetTableIndices(d, kFirstOfBlocks));
    hn::StoreU(hn::LowerHalf(hn::LowerHalf(gathered)), hn::FixedTag<float, 4>(), out);
  } else {  // then in two lanes each
    const hn::RepartitionToWide<D> pairs;
    const auto first = hn::InterleaveLower(pairs, hn::BitCast(pairs, ac), hn::BitCast(pairs, bd));
    const auto second = hn::InterleaveUpper(pairs, hn::BitCast(pairs, ac), hn::BitCast(pairs, bd));
    const auto sums = hn::Add(hn::BitCast(d, first), hn::BitCast(d, second));
    const auto twice = hn::Add(sums, hn::Shuffle2301(sums));
    hn::StoreU(hn::LowerHalf(hn::ConcatEven(d, twice, twice)), hn::FixedTag<float, 4>(), out);
  }
#else
  for (int i = 0; i < 4; ++i) out[i] = sum_of_lanes(values[i]);
#endif
}

}  // namespace sinkstream::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
