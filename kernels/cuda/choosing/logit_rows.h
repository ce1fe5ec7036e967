// The logits of a step as its kernels read them, and what a slot's sampling parameters make of them.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/choosing/choose.h"
#include "kernels/cuda/choosing/selection.h"
#include "kernels/cuda/choosing/slot_states.h"
#include "kernels/cuda/simt.h"

namespace sinkstream::kernels::cuda {

// One output's raw logits. Ranks' slices are those of split_evenly(): the first ones may have a token more.
struct LogitRow {
  const float* data;
  std::int64_t rank_stride;
  std::int32_t shorter;     // tokens of a rank
  std::int32_t longer_end;  // tokens below it are of ranks that have shorter + 1
  bool whole;               // of one rank

  __device__ float operator[](std::int32_t token) const {
    if (whole) return data[token];
    std::int32_t rank = 0, column = 0;
    if (token < longer_end) {
      rank = token / (shorter + 1);
      column = token - rank * (shorter + 1);
    } else {
      const std::int32_t longer_ranks = longer_end / (shorter + 1);
      rank = (token - longer_end) / shorter;
      column = token - longer_end - rank * shorter;
      rank += longer_ranks;
    }
    return data[rank * rank_stride + column];
  }
};

struct LogitRows {
  const float* data;
  std::int64_t stride;
  std::int64_t rank_stride;
  std::int32_t vocab_size;
  std::int32_t ranks;

  explicit LogitRows(const Logits& logits)
      : data(device_pointer<const float>(logits.data)),
        stride(logits.largest_slice),
        rank_stride(logits.outputs * logits.largest_slice),
        vocab_size(static_cast<std::int32_t>(logits.vocab_size)),
        ranks(logits.ranks) {}

  __device__ LogitRow row(std::int64_t output) const {
    const std::int32_t shorter = vocab_size / ranks;
    return {data + output * stride, rank_stride, shorter, vocab_size % ranks * (shorter + 1), ranks == 1};
  }
};

// Penalties, bias and the ban of end tokens, in float32 and in the order in which the host has them.
class Adjustment {
 public:
  __device__ Adjustment(const SlotStatesView& states, std::int32_t slot)
      : state_(states.states[slot]),
        counts_(state_.has_penalties ? states.counts_of(slot) : nullptr),
        biases_(state_.has_bias ? states.biases_of(slot) : nullptr),
        is_end_(state_.bans_end_tokens() ? states.is_end_of(slot) : nullptr) {}

  __device__ float operator()(float logit, std::int32_t token) const {
    const std::int32_t count = counts_ == nullptr ? 0 : counts_[token];
    if (count > 0) {
      logit = logit > 0 ? logit / state_.repetition_penalty : __fmul_rn(logit, state_.repetition_penalty);
      logit -= state_.presence_penalty + __fmul_rn(state_.frequency_penalty, static_cast<float>(count));
    }
    if (biases_ != nullptr) logit += biases_[token];
    if (is_end_ != nullptr && is_end_[token] != 0) logit = -INFINITY;
    return logit;
  }

 private:
  const SlotState& state_;
  const std::int32_t* counts_;
  const float* biases_;
  const std::uint8_t* is_end_;
};

// What an adjusted logit scores before noise.
__device__ inline double score_of(float adjusted, float temperature) {
  return temperature > 0 ? static_cast<double>(adjusted) / static_cast<double>(temperature)
                         : static_cast<double>(adjusted);
}

// How likely tokens are beside the most likely one, whose adjusted logit is finite.
class Likelihood {
 public:
  __device__ Likelihood(float largest, float temperature, double unit)
      : largest_(largest),
        temperature_(temperature),
        bins_per_logit_(fminf(kBinsPerUnit / temperature, 3e38f)),
        largest_score_(score_of(largest, temperature)),
        unit_(unit) {}

  __device__ double score(float adjusted) const { return score_of(adjusted, temperature_); }
  // exp(score - largest score)
  __device__ double ratio(float adjusted) const { return exp(score(adjusted) - largest_score_); }
  __device__ Mass mass(float adjusted) const {
    const double difference = score(adjusted) - largest_score_;
    if (!(difference > kNothing)) return 0;
    return static_cast<Mass>(exp(difference) * unit_ + 0.5);
  }
  // Bins are equally wide, so that few tokens meet in one; the last one has all the rest, and NaN.
  __device__ unsigned bin(float adjusted) const {
    return static_cast<unsigned>(fminf((largest_ - adjusted) * bins_per_logit_, kBins - 1.0f));
  }
  __device__ Key highest_key() const { return key_of(largest_); }
  // The lowest key that falls in no bin behind this one.
  __device__ Key lowest_key(unsigned last) const {
    Key below = 0, key = highest_key();  // `below` is too low, or the lowest of all
    if (bin(number_of(below)) <= last) return below;
    while (key - below > 1) {
      const Key middle = below + (key - below) / 2;
      (bin(number_of(middle)) <= last ? key : below) = middle;
    }
    return key;
  }

 private:
  static constexpr float kBinsPerUnit = 64;  // of score: the last bin begins at exp(-32) of the largest
  static constexpr double kNothing = -50;    // exp() of it is less than half a unit

  float largest_;
  float temperature_;
  float bins_per_logit_;
  double largest_score_;
  double unit_;
};

}  // namespace sinkstream::kernels::cuda
