// Tokens that a choice is between, and what ranks know of them together: the part of choosing that is the
// same on every backend, pure functions of what the ranks gathered.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "base/sampling_params.h"

namespace sinkstream::kernels {

inline constexpr double kNever = -std::numeric_limits<double>::infinity();

struct Candidate {
  TokenId token = -1;     // -1: none
  float raw = 0;          // raw logit
  double score = kNever;  // what candidates are ordered by
};

// Most likely first; equal scores by token id, so that the order is the same on any number of ranks.
constexpr bool ahead(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.token < b.token;
}

// Sum of exp(x - max) with its max: partial sums of ranks combine to a log-sum-exp.
struct ExpSum {
  double max = kNever;
  double sum = 0;

  double log() const { return max + std::log(sum); }
};
ExpSum combine(const ExpSum& a, const ExpSum& b);

// Whether top_k, top_p or min_p leave some tokens out.
bool is_truncated(const SamplingParams& sampling);

// All ranks' candidates of one task, best first, and how many of them are certain: nothing that a rank did
// not send can stand before them.
struct Merged {
  std::vector<Candidate> candidates;
  std::size_t certain = 0;
};

// `gathered`: each rank's `width` best, best first, in rank order; a rank that has fewer fills up with none.
Merged merge(std::span<const Candidate> gathered, std::int64_t width, int ranks, std::int64_t vocab_size);

// How many of the candidates top_k, top_p and min_p leave; no value when more than the certain ones may
// remain.   all: of the scores of the whole vocabulary
std::optional<std::size_t> kept_candidates(const Merged& merged, const SamplingParams& sampling,
                                           const ExpSum& all);

// Draws one of them by its score: with noise of the token, keyed by seed and position.
Candidate draw(std::span<const Candidate> kept, std::uint64_t seed, std::int64_t position);

}  // namespace sinkstream::kernels
