// Finds where a cut through a row of numbers stands, without sorting them: the numbers' places in their order
// are divided into bins, the bin with the cut again, until one number or one value is left. Sums are of
// integers, so they are the same in whatever order threads add.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/choosing/block_reduce.h"
#include "kernels/cuda/simt.h"

namespace sinkstream::kernels::cuda {

using Key = std::uint32_t;
using Mass = unsigned long long;  // what a token is likely by, in a unit that a row's masses fit together

inline constexpr Key kNotANumber = 0;       // the key of all NaN: behind every number
inline constexpr Key kNoKey = 0xffffffffu;  // no number's
inline constexpr int kBinBits = 11;
inline constexpr int kBins = 1 << kBinBits;

// Keys are ordered as the numbers are; both zeros have the same.
__device__ inline Key key_of(float number) {
  if (std::isnan(number)) return kNotANumber;
  const unsigned bits = __float_as_uint(number + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ inline float number_of(Key key) {
  return __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
}

// Of some tokens.
struct Amount {
  unsigned count;
  Mass mass;
};
__device__ inline Amount operator+(const Amount& a, const Amount& b) {
  return {a.count + b.count, a.mass + b.mass};
}

// The cut stands behind the first tokens that are so many, or so much.
struct Goal {
  bool by_mass;
  Mass least;

  __device__ bool reached(const Amount& amount) const {
    return (by_mass ? amount.mass : Mass{amount.count}) >= least;
  }
};

// In memory that a block shares; bin 0 comes first in the order. Masses are kept in halves, because shared
// memory adds 32 bits at a time.
struct Histogram {
  unsigned counts[kBins];
  unsigned low_masses[kBins];
  unsigned high_masses[kBins];

  // By all threads, as are the others that have no bin.
  __device__ void clear() {
    for (unsigned bin = threadIdx.x; bin < kBins; bin += blockDim.x) set(bin, {0, 0});
  }
  __device__ void set(unsigned bin, const Amount& amount) {
    counts[bin] = amount.count;
    low_masses[bin] = static_cast<unsigned>(amount.mass);
    high_masses[bin] = static_cast<unsigned>(amount.mass >> 32);
  }
  __device__ Amount at(unsigned bin) const {
    return {counts[bin], Mass{high_masses[bin]} << 32 | low_masses[bin]};
  }
  // One token more.
  __device__ void add(unsigned bin, Mass mass) {
    atomicAdd(&counts[bin], 1u);
    if (mass == 0) return;
    const auto low = static_cast<unsigned>(mass);
    const unsigned before = atomicAdd(&low_masses[bin], low);
    const unsigned carry = before + low < low ? 1 : 0;
    const auto high = static_cast<unsigned>(mass >> 32) + carry;
    if (high != 0) atomicAdd(&high_masses[bin], high);
  }
};

// A bin, and what stands before it.
struct Place {
  unsigned bin;
  Amount before;
  Amount inside;
};

// Sum of what threads before this one have.
__device__ inline Amount amount_before(const Amount& mine) {
  __shared__ unsigned counts[kWarpSize];
  __shared__ Mass masses[kWarpSize];
  Amount up_to = mine;
  for (int step = 1; step < kWarpSize; step *= 2) {
    const Amount lower{__shfl_up_sync(kWholeWarp, up_to.count, step),
                       __shfl_up_sync(kWholeWarp, up_to.mass, step)};
    if (lane_id() >= step) up_to = up_to + lower;
  }
  __syncthreads();
  if (lane_id() == kWarpSize - 1) {
    counts[warp_id()] = up_to.count;
    masses[warp_id()] = up_to.mass;
  }
  __syncthreads();
  Amount before{up_to.count - mine.count, up_to.mass - mine.mass};
  for (int w = 0; w < warp_id(); ++w) before = before + Amount{counts[w], masses[w]};
  return before;
}

// The bin in which the goal is reached, where `before` stands before all bins. By all threads.
__device__ inline Place find_bin(const Histogram& histogram, const Goal& goal, const Amount& before) {
  __shared__ unsigned found[3];
  __shared__ Mass found_masses[2];
  const unsigned bins_each = (kBins + blockDim.x - 1) / blockDim.x;
  const unsigned first = min(threadIdx.x * bins_each, unsigned{kBins});
  const unsigned end = min(first + bins_each, unsigned{kBins});
  Amount mine{0, 0};
  for (unsigned bin = first; bin < end; ++bin) mine = mine + histogram.at(bin);
  Amount reached = before + amount_before(mine);
  if (!goal.reached(reached) && goal.reached(reached + mine)) {
    unsigned bin = first;
    while (!goal.reached(reached + histogram.at(bin))) reached = reached + histogram.at(bin++);
    found[0] = bin;
    found[1] = reached.count;
    found_masses[0] = reached.mass;
    found[2] = histogram.at(bin).count;
    found_masses[1] = histogram.at(bin).mass;
  }
  __syncthreads();
  const Place place{found[0], {found[1], found_masses[0]}, {found[2], found_masses[1]}};
  __syncthreads();
  return place;
}

// Calls visit(i, at(i)) for each number i below `size` for which wanted(i, at(i)) is true. A thread reads
// some of its numbers before it looks at the first, and those it wants again: few are wanted, or visit()
// takes long.
template <typename At, typename Wanted, typename Visit>
__device__ void visit_where(std::int32_t size, const At& at, const Wanted& wanted, const Visit& visit) {
  constexpr int kAtOnce = 8;
  const auto step = static_cast<std::int32_t>(blockDim.x);
  for (auto first = static_cast<std::int32_t>(threadIdx.x); first < size; first += kAtOnce * step) {
    decltype(at(first)) numbers[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) numbers[k] = at(min(first + k * step, size - 1));
    unsigned chosen = 0;
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const std::int32_t i = first + k * step;
      if (i < size && wanted(i, numbers[k])) chosen |= 1u << k;
    }
    for (; chosen != 0; chosen &= chosen - 1) {
      const std::int32_t i = first + (__ffs(static_cast<int>(chosen)) - 1) * step;
      visit(i, at(i));
    }
  }
}

// Where the goal is reached: all with greater keys stand before the cut, and of those `at` it the next
// `taken`. Those have the same key, or all are taken and none has a lower one.
struct Cut {
  Key key;
  Amount before;
  Amount at;
  unsigned taken;

  __device__ bool splits_equals() const { return taken < at.count; }
  __device__ Mass mass() const {
    return before.mass + (splits_equals() ? taken * (at.mass / at.count) : at.mass);
  }
};

__device__ inline Cut cut_at(Key key, const Place& place, const Goal& goal) {
  Cut cut{key, place.before, place.inside, place.inside.count};
  if (!goal.by_mass) {
    cut.taken = static_cast<unsigned>(goal.least - place.before.count);
  } else if (place.inside.count > 1) {
    const Mass of_each = place.inside.mass / place.inside.count;
    cut.taken = static_cast<unsigned>((goal.least - place.before.mass + of_each - 1) / of_each);
  }
  return cut;
}

// `key_at(i)`: the key of number i of `size`, whose keys in [lowest, highest] are divided; `mass_of(key)`;
// the goal is reached among them. By all threads of a block.
template <typename KeyAt, typename MassOf>
__device__ Cut find_cut(std::int32_t size, const KeyAt& key_at, const MassOf& mass_of, Key lowest,
                        Key highest, Amount before, const Goal& goal, Histogram& histogram) {
  while (true) {
    const int bits = kBinBits + __clz(static_cast<int>(highest - lowest));
    const int shift = bits >= 32 ? 0 : 32 - bits;
    histogram.clear();
    __syncthreads();
    visit_where(
        size, key_at, [&](std::int32_t, Key key) { return key >= lowest && key <= highest; },
        [&](std::int32_t, Key key) { histogram.add((highest - key) >> shift, mass_of(key)); });
    __syncthreads();
    const Place place = find_bin(histogram, goal, before);
    before = place.before;
    highest -= place.bin << shift;
    const Key width = (Key{1} << shift) - 1;
    if (highest - lowest > width) lowest = highest - width;
    const bool takes_all = !goal.by_mass && before.count + place.inside.count == goal.least;
    if (shift == 0 || place.inside.count == 1 || takes_all) return cut_at(lowest, place, goal);
  }
}

}  // namespace sinkstream::kernels::cuda
