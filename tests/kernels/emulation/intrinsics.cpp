#include "tests/kernels/emulation/intrinsics.h"

#include <cmath>
#include <cstddef>

namespace sinkstream::kernels::cuda::emulation {
namespace {

struct Fragments {
  float* d;
  const std::uint32_t* a;
  const std::uint32_t* b;
};

float low(std::uint32_t packed) {
  return std::bit_cast<float>(packed << 16);
}
float high(std::uint32_t packed) {
  return std::bit_cast<float>(packed & 0xffff0000u);
}

// Towards zero, as tensor cores round.
float truncated(double value) {
  const auto nearest = static_cast<float>(value);
  if (std::fabs(static_cast<double>(nearest)) <= std::fabs(value) || std::isnan(nearest)) return nearest;
  return std::nextafter(nearest, 0.0f);
}

// PTX ISA 9.7.14.5.8: which elements of a [16, 16], b [16, 8] and d [16, 8] a lane has.
void complete_mma(std::span<void* const> payloads) {
  double a[16][16];
  double b[16][8];
  for (std::size_t lane = 0; lane < payloads.size(); ++lane) {
    const auto& mine = *static_cast<const Fragments*>(payloads[lane]);
    const std::size_t group = lane / 4;
    const std::size_t pair = lane % 4 * 2;
    for (std::size_t i = 0; i < 4; ++i) {
      a[group + i % 2 * 8][pair + i / 2 * 8] = low(mine.a[i]);
      a[group + i % 2 * 8][pair + i / 2 * 8 + 1] = high(mine.a[i]);
    }
    for (std::size_t i = 0; i < 2; ++i) {
      b[pair + i * 8][group] = low(mine.b[i]);
      b[pair + i * 8 + 1][group] = high(mine.b[i]);
    }
  }
  for (std::size_t row = 0; row < 16; ++row) {
    double sums[8] = {};
    for (std::size_t k = 0; k < 16; ++k) {
      for (std::size_t column = 0; column < 8; ++column) sums[column] += a[row][k] * b[k][column];
    }
    for (std::size_t column = 0; column < 8; ++column) {
      float& d =
          static_cast<const Fragments*>(payloads[row % 8 * 4 + column / 2])->d[row / 8 * 2 + column % 2];
      d = truncated(d + sums[column]);
    }
  }
}

constexpr Meeting kMma{"mma_bf16", false, complete_mma};

}  // namespace

void complete_vote(std::span<void* const> payloads) {
  unsigned lanes = 0;
  for (std::size_t lane = 0; lane < payloads.size(); ++lane) {
    if (static_cast<const Vote*>(payloads[lane])->value != 0) lanes |= 1u << lane;
  }
  for (void* const payload : payloads) static_cast<Vote*>(payload)->lanes = lanes;
}

void complete_count(std::span<void* const> payloads) {
  int count = 0;
  for (const void* const payload : payloads) count += *static_cast<const int*>(payload);
  for (void* const payload : payloads) *static_cast<int*>(payload) = count;
}

void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
              std::source_location where) {
  Fragments mine{d, a, b};
  meet(kMma, &mine, where);
}

}  // namespace sinkstream::kernels::cuda::emulation
