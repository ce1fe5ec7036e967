#include "kernels/host/choose.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/candidates.h"
#include "kernels/gumbel_noise.h"
#include "parallel/shard_plan.h"

namespace sinkstream::kernels {
namespace {

constexpr std::int64_t kFirstWidth = 64;  // candidates of each rank in the first round of a truncated choice
constexpr std::int64_t kWidthGrowth = 8;

// A task and its slot; a task that chooses goes by the slot's sampling parameters.
struct Wanted {
  const ChoiceTask& task;
  const HostSlotState& slot;

  const SamplingParams& sampling() const { return slot.sampling; }
};

template <typename Score>
ExpSum exp_sum(std::int64_t count, const Score& score) {
  ExpSum result;
  for (std::int64_t i = 0; i < count; ++i) result.max = std::max(result.max, static_cast<double>(score(i)));
  if (result.max == kNever) return result;
  for (std::int64_t i = 0; i < count; ++i) result.sum += std::exp(static_cast<double>(score(i)) - result.max);
  return result;
}

// What a rank says of one task in the first round.
struct LocalSummary {
  ExpSum raw;      // if log-probabilities are wanted
  ExpSum scaled;   // of the adjusted logits over the temperature, if the choice is truncated by mass
  Candidate best;  // of an untruncated choice
  float target_raw = -std::numeric_limits<float>::infinity();  // if the target is this rank's
};

// This rank's slice of one row: raw logits, and those adjusted by penalties and bias.
class LocalLogits {
 public:
  LocalLogits(std::span<const float> raw, Range vocab, const Wanted& wanted) : raw_(raw), vocab_(vocab) {
    if (!wanted.task.sample) return;
    const SamplingParams& sampling = wanted.sampling();
    temperature_ = sampling.temperature;
    adjusted_.assign(raw.begin(), raw.end());
    apply_penalties(sampling, wanted.slot.penalty_counts.counts());
    for (const auto& [token, bias] : sampling.logit_bias) {
      if (owns(token)) adjusted_[index(token)] += bias;
    }
    if (!wanted.slot.bans_end_tokens()) return;
    for (const TokenId token : sampling.end_tokens) {
      if (owns(token)) adjusted_[index(token)] = -std::numeric_limits<float>::infinity();
    }
  }

  std::int64_t size() const { return vocab_.size(); }
  bool owns(TokenId token) const { return token >= vocab_.begin && token < vocab_.end; }
  std::size_t index(TokenId token) const { return static_cast<std::size_t>(token - vocab_.begin); }
  TokenId token(std::int64_t i) const { return static_cast<TokenId>(vocab_.begin + i); }
  float raw(std::int64_t i) const { return raw_[static_cast<std::size_t>(i)]; }
  // This slice's part of a token's rank by raw logit: how many come before the token, or are it.
  std::int64_t count_up_to(TokenId last, float last_raw) const {
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < size(); ++i) {
      count += raw(i) > last_raw || (raw(i) == last_raw && token(i) <= last);
    }
    return count;
  }
  double scaled(std::int64_t i) const {
    const double value = adjusted_[static_cast<std::size_t>(i)];
    return temperature_ > 0 ? value / temperature_ : value;
  }

 private:
  void apply_penalties(const SamplingParams& sampling,
                       const std::unordered_map<TokenId, std::int32_t>& counts) {
    for (const auto& [token, count] : counts) {
      if (!owns(token)) continue;
      float& logit = adjusted_[index(token)];
      logit = logit > 0 ? logit / sampling.repetition_penalty : logit * sampling.repetition_penalty;
      logit -= sampling.presence_penalty + sampling.frequency_penalty * static_cast<float>(count);
    }
  }

  std::span<const float> raw_;
  Range vocab_;
  double temperature_ = 0;
  std::vector<float> adjusted_;
};

// The `width` best by score, best first; shorter only when the slice is.
template <typename Score>
std::vector<Candidate> best_candidates(const LocalLogits& logits, std::int64_t width, const Score& score) {
  std::vector<Candidate> all(static_cast<std::size_t>(logits.size()));
  for (std::int64_t i = 0; i < logits.size(); ++i) {
    all[static_cast<std::size_t>(i)] = {logits.token(i), logits.raw(i), score(i)};
  }
  std::erase_if(all, [](const Candidate& candidate) { return std::isnan(candidate.score); });
  const auto kept = all.begin() + std::min<std::int64_t>(width, std::ssize(all));
  std::partial_sort(all.begin(), kept, all.end(), ahead);
  all.erase(kept, all.end());
  return all;
}

LocalSummary summarize(const LocalLogits& logits, const Wanted& wanted) {
  const ChoiceTask& task = wanted.task;
  LocalSummary summary;
  const bool wants_logprob = task.logprobs || !task.sample;
  if (wants_logprob) summary.raw = exp_sum(logits.size(), [&](std::int64_t i) { return logits.raw(i); });
  if (!task.sample) {
    if (logits.owns(task.target)) {
      summary.target_raw = logits.raw(static_cast<std::int64_t>(logits.index(task.target)));
    }
    return summary;
  }
  const SamplingParams& sampling = wanted.sampling();
  if (is_truncated(sampling)) {
    summary.scaled = exp_sum(logits.size(), [&](std::int64_t i) { return logits.scaled(i); });
    return summary;
  }
  for (std::int64_t i = 0; i < logits.size(); ++i) {
    Candidate candidate{logits.token(i), logits.raw(i), logits.scaled(i)};
    if (sampling.temperature > 0) {
      candidate.score += gumbel_noise(sampling.seed, task.position, candidate.token);
    }
    if (ahead(candidate, summary.best)) summary.best = candidate;
  }
  return summary;
}

// Gathers `blocks` (the same number on every rank); element [rank * blocks.size() + i] is a rank's block i.
template <typename T>
std::vector<T> gather(Communicator& communicator, const std::vector<T>& blocks) {
  std::vector<T> all(blocks.size() * static_cast<std::size_t>(communicator.size()));
  communicator.all_gather(std::as_bytes(std::span(blocks)), std::as_writable_bytes(std::span(all)));
  return all;
}

// One evaluation of a step's logits; every method is collective.
class Evaluation {
 public:
  Evaluation(Communicator& group, ConstHostMatrix local_logits, Range vocab, std::int64_t vocab_size,
             std::span<const ChoiceTask> tasks, const HostSlotStates& states, std::span<Choice> results)
      : group_(group), vocab_size_(vocab_size), results_(results) {
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      tasks_.push_back({tasks[i], states.slot(tasks[i].slot)});
      logits_.emplace_back(local_logits.row(static_cast<std::int64_t>(i)), vocab, tasks_[i]);
    }
  }

  void run() {
    std::ranges::fill(results_, Choice());
    raw_.resize(tasks_.size());
    scaled_.resize(tasks_.size());
    first_round();
    target_ranks();
    truncated_choices();
    top_logprobs();
  }

 private:
  int ranks() const { return group_.size(); }
  std::int64_t largest_slice() const { return split_evenly(vocab_size_, ranks(), 0).size(); }

  void set_chosen(std::size_t i, const Candidate& chosen) {
    results_[i].token = chosen.token;
    if (tasks_[i].task.logprobs && chosen.token >= 0) {
      results_[i].logprob = static_cast<float>(chosen.raw - raw_[i].log());
    }
  }

  void first_round() {
    std::vector<LocalSummary> mine;
    for (std::size_t i = 0; i < tasks_.size(); ++i) mine.push_back(summarize(logits_[i], tasks_[i]));
    const auto all = gather(group_, mine);
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      Candidate best;
      float target_raw = -std::numeric_limits<float>::infinity();
      for (int rank = 0; rank < ranks(); ++rank) {
        const LocalSummary& summary = all[static_cast<std::size_t>(rank) * tasks_.size() + i];
        raw_[i] = combine(raw_[i], summary.raw);
        scaled_[i] = combine(scaled_[i], summary.scaled);
        target_raw = std::max(target_raw, summary.target_raw);
        if (ahead(summary.best, best)) best = summary.best;
      }
      if (!tasks_[i].task.sample) {
        results_[i].token = tasks_[i].task.target;
        results_[i].logprob = static_cast<float>(target_raw - raw_[i].log());
        scored_.push_back({i, target_raw});
      } else if (!is_truncated(tasks_[i].sampling())) {
        set_chosen(i, best);
      } else {
        open_.push_back(i);
      }
    }
  }

  void target_ranks() {
    if (scored_.empty()) return;
    std::vector<std::int64_t> mine;
    for (const auto& [i, target_raw] : scored_) {
      mine.push_back(logits_[i].count_up_to(tasks_[i].task.target, target_raw));
    }
    const auto all = gather(group_, mine);
    for (std::size_t k = 0; k < all.size(); ++k) results_[scored_[k % scored_.size()].task].rank += all[k];
  }

  // Every rank's `width` best of some tasks, by the adjusted and scaled logits or by the raw ones.
  std::vector<Merged> gather_candidates(const std::vector<std::size_t>& indices, std::int64_t width,
                                        bool by_raw) {
    std::vector<Candidate> mine;
    for (const std::size_t i : indices) {
      const LocalLogits& logits = logits_[i];
      auto best = best_candidates(logits, width, [&](std::int64_t j) {
        return by_raw ? static_cast<double>(logits.raw(j)) : logits.scaled(j);
      });
      best.resize(static_cast<std::size_t>(width));
      mine.insert(mine.end(), best.begin(), best.end());
    }
    const auto all = gather(group_, mine);
    std::vector<Merged> merged;
    for (std::size_t k = 0; k < indices.size(); ++k) {
      std::vector<Candidate> of_task;
      for (int rank = 0; rank < ranks(); ++rank) {
        const auto begin = all.begin() +
                           static_cast<std::ptrdiff_t>(static_cast<std::size_t>(rank) * mine.size()) +
                           static_cast<std::ptrdiff_t>(k) * width;
        of_task.insert(of_task.end(), begin, begin + width);
      }
      merged.push_back(merge(of_task, width, ranks(), vocab_size_));
    }
    return merged;
  }

  // Widens the exchange until what remains after top_k, top_p and min_p is proven.
  void truncated_choices() {
    std::int64_t width = kFirstWidth;
    for (const std::size_t i : open_) width = std::max<std::int64_t>(width, tasks_[i].sampling().top_k);
    while (!open_.empty()) {
      width = std::min(width, largest_slice());
      const auto merged = gather_candidates(open_, width, false);
      std::vector<std::size_t> still_open;
      for (std::size_t k = 0; k < open_.size(); ++k) {
        const std::size_t i = open_[k];
        const auto kept = kept_candidates(merged[k], tasks_[i].sampling(), scaled_[i]);
        if (kept) {
          const std::span candidates = std::span(merged[k].candidates).first(*kept);
          set_chosen(i, draw(candidates, tasks_[i].sampling().seed, tasks_[i].task.position));
        } else {
          still_open.push_back(i);
        }
      }
      open_ = std::move(still_open);
      width *= kWidthGrowth;
    }
  }

  void top_logprobs() {
    std::vector<std::size_t> wanting;
    std::int64_t width = 0;
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      if (tasks_[i].task.top_logprobs == 0) continue;
      wanting.push_back(i);
      width = std::max<std::int64_t>(width, tasks_[i].task.top_logprobs);
    }
    if (wanting.empty()) return;
    const auto merged = gather_candidates(wanting, width, true);
    for (std::size_t k = 0; k < wanting.size(); ++k) {
      const std::size_t i = wanting[k];
      const auto& candidates = merged[k].candidates;
      const auto wanted = static_cast<std::size_t>(std::min(tasks_[i].task.top_logprobs, kMaxTopLogprobs));
      const auto count = std::min(candidates.size(), wanted);
      results_[i].top_count = static_cast<std::int32_t>(count);
      for (std::size_t j = 0; j < count; ++j) {
        results_[i].top[j] = {candidates[j].token, static_cast<float>(candidates[j].raw - raw_[i].log())};
      }
    }
  }

  Communicator& group_;
  std::int64_t vocab_size_;
  std::vector<Wanted> tasks_;
  std::vector<LocalLogits> logits_;
  std::span<Choice> results_;
  std::vector<ExpSum> raw_, scaled_;  // of the whole vocabulary, by task
  std::vector<std::size_t> open_;     // tasks whose token is not chosen yet
  struct Scored {
    std::size_t task;
    float target_raw;
  };
  std::vector<Scored> scored_;
};

}  // namespace

void choose_tokens(Communicator& group, ConstHostMatrix local_logits, Range vocab, std::int64_t vocab_size,
                   std::span<const ChoiceTask> tasks, HostSlotStates& states, std::span<Choice> out) {
  if (tasks.empty()) return;
  Evaluation(group, local_logits, vocab, vocab_size, tasks, states, out).run();
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (tasks[i].sample) states.slot(tasks[i].slot).choose(out[i].token);
  }
}

}  // namespace sinkstream::kernels
