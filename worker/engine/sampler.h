// Chooses tokens without gathering the vocabulary: each rank works on its own slice of the logits, and only a
// few candidates and partial sums are exchanged. Every rank comes to the same result.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/token_id.h"
#include "engine/engine.h"
#include "kernels/types.h"
#include "parallel/communicator/communicator.h"
#include "parallel/shard_plan.h"

namespace sinkstream {

// What is wanted of one row of logits.
struct LogitsTask {
  const SamplingParams* sampling = nullptr;  // null: score `target` instead of choosing a token
  const std::unordered_map<TokenId, std::int32_t>* output_counts =
      nullptr;                           // with `sampling`: tokens put out so far
  std::span<const TokenId> banned = {};  // with `sampling`: never chosen
  std::int64_t position = 0;             // of the token to choose; keys the noise
  TokenId target = 0;                    // to score
  bool logprobs = false;                 // report log-probabilities (always, when scoring)
  std::int32_t top_logprobs = 0;
};

struct TokenResult {
  TokenId token = -1;  // -1: the logits were not finite
  float logprob = 0;   // of the raw logits; 0 unless asked for
  std::vector<TokenLogprob> top;
  std::int64_t rank = 0;  // of a scored target among all tokens by raw logit: 1 for the first
};

// Standard Gumbel noise for a token at a position: the arg-max of logits / temperature + noise is a sample of
// their softmax (Gumbel 1954; Maddison et al. 2014). Depends on its arguments alone, so on no rank count.
double gumbel_noise(std::uint64_t seed, std::int64_t position, TokenId token);

// Collective. local_logits [tasks, vocab.size()]: this rank's columns of the raw logits.
std::vector<TokenResult> evaluate_logits(Communicator& communicator, kernels::ConstMatrix local_logits,
                                         Range vocab, std::int64_t vocab_size,
                                         std::span<const LogitsTask> tasks);

}  // namespace sinkstream
