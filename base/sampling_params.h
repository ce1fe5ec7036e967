// How a token is chosen: what requests ask for and what a backend computes with.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/token_id.h"

namespace sinkstream {

// Penalties, the bias and the ban of end tokens apply before temperature, then top_k, top_p and min_p cut in
// this order.
struct SamplingParams {
  float temperature = 1.0f;  // 0: the most likely token
  std::int32_t top_k = 0;    // 0: off
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  // What penalties count: -1 all of this request's output; else the newest so many tokens of `earlier_output`
  // and of the output behind it, but for those that end an answer.
  std::int32_t repeat_last_n = -1;
  std::vector<TokenId> earlier_output;  // what the conversation put out before; up to repeat_last_n
  std::uint64_t seed = 0;               // same seed, same text
  std::vector<std::pair<TokenId, float>> logit_bias;
  // The answer has at least so many tokens: until then none that would end it is chosen.
  std::int64_t min_tokens = 0;
  std::vector<TokenId> end_tokens;  // with min_tokens or repeat_last_n; the scheduler fills it in

  bool has_penalties() const {
    return repeat_last_n != 0 &&
           (repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f);
  }
};

// The largest repeat_last_n: it bounds what a slot keeps to count by.
inline constexpr std::int32_t kMaxRepeatLastN = 65'536;

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
};

}  // namespace sinkstream
