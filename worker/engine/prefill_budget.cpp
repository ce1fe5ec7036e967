#include "worker/engine/prefill_budget.h"

#include <algorithm>
#include <bit>

namespace sinkstream {
namespace {

// Of a mean that follows what changes: the newest measure's part.
constexpr double kNewest = 0.25;
// After so many steps with prompts, one without them is measured again: other work on the machine comes and
// goes.
constexpr std::int64_t kMeasuredAgainAfter = 256;

void follow(std::optional<double>& mean, double measure, double weight) {
  mean = mean ? *mean + weight * (measure - *mean) : measure;
}

}  // namespace

PrefillBudget::PrefillBudget(std::int64_t chunk, double most_slowdown)
    : chunk_(chunk), most_slowdown_(most_slowdown) {}

std::size_t PrefillBudget::bucket(std::int64_t decode_rows) {
  return static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(decode_rows)) - 1);
}

std::int64_t PrefillBudget::tokens(std::int64_t decode_rows) const {
  const std::optional<double> cost = beside_ ? beside_ : alone_;
  if (most_slowdown_ == 0 || decode_rows == 0 || !cost) return chunk_;
  const DecodeSteps& steps = decode_[bucket(decode_rows)];
  if (!steps.seconds || steps.steps_with_prompts >= kMeasuredAgainAfter) return 0;
  const double seconds = (most_slowdown_ - 1) * *steps.seconds;
  if (seconds >= *cost * static_cast<double>(chunk_)) return chunk_;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(seconds / *cost));
}

void PrefillBudget::note(std::int64_t decode_rows, std::int64_t prompt_rows, double seconds) {
  if (decode_rows == 0 && prompt_rows == 0) return;
  const auto prompt = static_cast<double>(prompt_rows);
  if (decode_rows == 0) {
    // A few tokens cost a step nearly what a chunk does: they tell little of what one of many costs.
    return follow(alone_, seconds / prompt, kNewest * prompt / static_cast<double>(chunk_));
  }
  DecodeSteps& steps = decode_[bucket(decode_rows)];
  if (prompt_rows == 0) {
    follow(steps.seconds, seconds, kNewest);
    steps.steps_with_prompts = 0;
    return;
  }
  ++steps.steps_with_prompts;
  if (steps.seconds) follow(beside_, std::max(0.0, seconds - *steps.seconds) / prompt, kNewest);
}

}  // namespace sinkstream
