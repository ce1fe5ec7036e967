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

}  // namespace sinkstream::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
