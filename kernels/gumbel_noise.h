// The noise that turns an arg-max into a sample; one definition for all backends.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/token_id.h"

namespace sinkstream::kernels {

// Steele et al. 2014, SplitMix64's finalizer.
constexpr std::uint64_t mix_bits(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// In (0, 1], keyed by its arguments alone.
constexpr double uniform_noise(std::uint64_t seed, std::int64_t position, TokenId token) {
  const std::uint64_t bits = mix_bits(mix_bits(mix_bits(seed) ^ static_cast<std::uint64_t>(position)) ^
                                      static_cast<std::uint64_t>(token));
  return (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
}

// Standard Gumbel noise for a token at a position: the arg-max of logits / temperature + noise is a sample of
// their softmax (Gumbel 1954; Maddison et al. 2014). Depends on its arguments alone, so on no rank count.
inline double gumbel_noise(std::uint64_t seed, std::int64_t position, TokenId token) {
  return -std::log(-std::log(uniform_noise(seed, position, token)));
}

}  // namespace sinkstream::kernels
