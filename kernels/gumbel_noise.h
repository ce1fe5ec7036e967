// The noise that turns an arg-max into a sample; one definition for all backends.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

#include "base/token_id.h"

namespace sinkstream::kernels {

// Steele et al. 2014, SplitMix64's finalizer.
constexpr std::uint64_t mix_bits(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Keyed by its arguments alone.
constexpr std::uint64_t uniform_bits(std::uint64_t seed, std::int64_t position, TokenId token) {
  return mix_bits(mix_bits(mix_bits(seed) ^ static_cast<std::uint64_t>(position)) ^
                  static_cast<std::uint64_t>(token));
}

// In (0, 1].
constexpr double uniform_noise(std::uint64_t bits) {
  return (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
}
constexpr double uniform_noise(std::uint64_t seed, std::int64_t position, TokenId token) {
  return uniform_noise(uniform_bits(seed, position, token));
}

// Standard Gumbel noise for a token at a position: the arg-max of logits / temperature + noise is a sample of
// their softmax (Gumbel 1954; Maddison et al. 2014). Depends on its arguments alone, so on no rank count.
inline double gumbel_noise(std::uint64_t bits) {
  return -std::log(-std::log(uniform_noise(bits)));
}
inline double gumbel_noise(std::uint64_t seed, std::int64_t position, TokenId token) {
  return gumbel_noise(uniform_bits(seed, position, token));
}

// No noise of these bits is larger. It is -log(-log(u)) of a uniform u, at most -log(1 - u), and that is
// known nearly from the ones that the bits begin with: where that is too little, no logarithm need be taken.
inline double most_gumbel_noise(std::uint64_t bits) {
  constexpr double kSlack = 1e-6;   // more than all roundings together
  constexpr int kOnesNearOne = 50;  // u may be rounded to 1, whose noise is infinite
  const int ones = std::countl_one(bits);
  return ones < kOnesNearOne ? (ones + 1) * std::numbers::ln2 + kSlack
                             : std::numeric_limits<double>::infinity();
}

}  // namespace sinkstream::kernels
