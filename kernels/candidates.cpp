#include "kernels/candidates.h"

#include <algorithm>

#include "kernels/gumbel_noise.h"
#include "parallel/shard_plan.h"

namespace sinkstream::kernels {

ExpSum combine(const ExpSum& a, const ExpSum& b) {
  if (b.max == kNever) return a;
  const double max = std::max(a.max, b.max);
  const double left = a.max == kNever ? 0 : a.sum * std::exp(a.max - max);
  return {max, left + b.sum * std::exp(b.max - max)};
}

bool is_truncated(const SamplingParams& sampling) {
  return sampling.temperature > 0 && (sampling.top_k > 0 || sampling.top_p < 1 || sampling.min_p > 0);
}

Merged merge(std::span<const Candidate> gathered, std::int64_t width, int ranks, std::int64_t vocab_size) {
  Merged merged;
  double unsent = kNever;  // no unsent candidate scores higher
  for (int rank = 0; rank < ranks; ++rank) {
    const auto block =
        gathered.subspan(static_cast<std::size_t>(rank * width), static_cast<std::size_t>(width));
    const bool whole = block.back().token < 0 || split_evenly(vocab_size, ranks, rank).size() <= width;
    if (!whole) unsent = std::max(unsent, block.back().score);
    const auto before = std::ssize(merged.candidates);
    for (const Candidate& candidate : block) {
      if (candidate.token >= 0) merged.candidates.push_back(candidate);
    }
    const auto begin = merged.candidates.begin();
    std::inplace_merge(begin, begin + before, merged.candidates.end(), ahead);
  }
  merged.certain = static_cast<std::size_t>(std::count_if(
      merged.candidates.begin(), merged.candidates.end(),
      [&](const Candidate& candidate) { return unsent == kNever || candidate.score > unsent; }));
  return merged;
}

std::optional<std::size_t> kept_candidates(const Merged& merged, const SamplingParams& sampling,
                                           const ExpSum& all) {
  std::size_t limit = merged.candidates.size();
  if (sampling.top_k > 0) limit = std::min(limit, static_cast<std::size_t>(sampling.top_k));
  if (limit == 0) return 0;

  const double max = merged.candidates.front().score;
  const auto mass_of = [&](std::size_t i) { return std::exp(merged.candidates[i].score - max); };
  // After top_k, top_p is a share of what top_k left.
  double total = all.sum * std::exp(all.max - max);
  if (sampling.top_k > 0) {
    if (limit > merged.certain) return std::nullopt;
    total = 0;
    for (std::size_t i = 0; i < limit; ++i) total += mass_of(i);
  }
  double mass = 0;
  std::size_t kept = 0;
  while (kept < limit) {
    if (kept > 0 && sampling.top_p < 1 && mass >= sampling.top_p * total) break;
    const double next = mass_of(kept);
    if (kept > 0 && next < static_cast<double>(sampling.min_p)) break;
    mass += next;
    ++kept;
  }
  // Where it stopped before the limit, the candidate that it stopped at must be certain too.
  const bool proven = kept < limit ? kept < merged.certain : kept <= merged.certain;
  return proven ? std::optional(kept) : std::nullopt;
}

Candidate draw(std::span<const Candidate> kept, std::uint64_t seed, std::int64_t position) {
  Candidate best;
  for (Candidate candidate : kept) {
    const std::uint64_t bits = uniform_bits(seed, position, candidate.token);
    if (candidate.score + most_gumbel_noise(bits) < best.score) continue;
    candidate.score += gumbel_noise(bits);
    if (ahead(candidate, best)) best = candidate;
  }
  return best;
}

}  // namespace sinkstream::kernels
