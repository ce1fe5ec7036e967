#include "kernels/host/choose.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/candidates.h"
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

// What a rank says of one task in the first round.
struct LocalSummary {
  Summary row;  // log-probabilities: `raw`; truncated by mass: `scaled`; other choices: `best`
  float target_raw = -std::numeric_limits<float>::infinity();  // if the target is this rank's
};

// This rank's slice of one row: raw logits, and those adjusted by penalties and bias.
class LocalLogits {
 public:
  LocalLogits(std::span<const float> raw, Range vocab, const Wanted& wanted)
      : row_{.raw = raw, .adjusted = raw, .first_token = static_cast<TokenId>(vocab.begin)}, vocab_(vocab) {
    if (!wanted.task.sample) return;
    const SamplingParams& sampling = wanted.sampling();
    row_.temperature = sampling.temperature;
    apply_penalties(sampling, wanted.slot.penalty_counts.counts());
    for (const auto& [token, bias] : sampling.logit_bias) {
      if (owns(token)) adjusted(token) += bias;
    }
    if (!wanted.slot.bans_end_tokens()) return;
    for (const TokenId token : sampling.end_tokens) {
      if (owns(token)) adjusted(token) = -std::numeric_limits<float>::infinity();
    }
  }
  LocalLogits(const LocalLogits&) = delete;
  LocalLogits(LocalLogits&&) = default;

  const LogitsRow& row() const { return row_; }
  bool owns(TokenId token) const { return token >= vocab_.begin && token < vocab_.end; }
  float raw(TokenId token) const { return row_.raw[index(token)]; }

 private:
  std::size_t index(TokenId token) const { return static_cast<std::size_t>(token - vocab_.begin); }

  // Most rows have none: they are not copied.
  float& adjusted(TokenId token) {
    if (adjusted_.empty()) {
      adjusted_.assign(row_.raw.begin(), row_.raw.end());
      row_.adjusted = adjusted_;
    }
    return adjusted_[index(token)];
  }

  void apply_penalties(const SamplingParams& sampling,
                       const std::unordered_map<TokenId, std::int32_t>& counts) {
    for (const auto& [token, count] : counts) {
      if (!owns(token)) continue;
      float& logit = adjusted(token);
      logit = logit > 0 ? logit / sampling.repetition_penalty : logit * sampling.repetition_penalty;
      logit -= sampling.presence_penalty + sampling.frequency_penalty * static_cast<float>(count);
    }
  }

  LogitsRow row_;
  Range vocab_;
  std::vector<float> adjusted_;
};

// What is to be known of a row in the first round.
SummaryTask summary_task(const LocalLogits& logits, const Wanted& wanted) {
  const ChoiceTask& task = wanted.task;
  SummaryTask summary = {.row = logits.row(), .raw_sum = task.logprobs || !task.sample};
  if (!task.sample) return summary;
  const SamplingParams& sampling = wanted.sampling();
  summary.scaled_sum = is_truncated(sampling);
  summary.best = !summary.scaled_sum;
  summary.seed = sampling.seed;
  summary.position = task.position;
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
  Evaluation(Communicator& group, LogitsScan& scan, ConstHostMatrix local_logits, Range vocab,
             std::int64_t vocab_size, std::span<const ChoiceTask> tasks, const HostSlotStates& states,
             std::span<Choice> results)
      : group_(group), scan_(scan), vocab_size_(vocab_size), results_(results) {
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
    std::vector<SummaryTask> wanted;
    for (std::size_t i = 0; i < tasks_.size(); ++i) wanted.push_back(summary_task(logits_[i], tasks_[i]));
    std::vector<Summary> found(wanted.size());
    scan_.summarize(wanted, found);
    std::vector<LocalSummary> mine;
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      mine.push_back({.row = found[i]});
      const ChoiceTask& task = tasks_[i].task;
      if (!task.sample && logits_[i].owns(task.target)) mine[i].target_raw = logits_[i].raw(task.target);
    }
    const auto all = gather(group_, mine);
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      Candidate best;
      float target_raw = -std::numeric_limits<float>::infinity();
      for (int rank = 0; rank < ranks(); ++rank) {
        const LocalSummary& summary = all[static_cast<std::size_t>(rank) * tasks_.size() + i];
        raw_[i] = combine(raw_[i], summary.row.raw);
        scaled_[i] = combine(scaled_[i], summary.row.scaled);
        target_raw = std::max(target_raw, summary.target_raw);
        if (ahead(summary.row.best, best)) best = summary.row.best;
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
    std::vector<CountTask> wanted;
    for (const auto& [i, target_raw] : scored_) {
      wanted.push_back({logits_[i].row(), tasks_[i].task.target, target_raw});
    }
    std::vector<std::int64_t> mine(wanted.size());
    scan_.count_up_to(wanted, mine);
    const auto all = gather(group_, mine);
    for (std::size_t k = 0; k < all.size(); ++k) results_[scored_[k % scored_.size()].task].rank += all[k];
  }

  // Every rank's `width` best of some tasks, by the adjusted and scaled logits or by the raw ones.
  std::vector<Merged> gather_candidates(const std::vector<std::size_t>& indices, std::int64_t width,
                                        bool by_raw) {
    std::vector<BestTask> wanted;
    for (const std::size_t i : indices) wanted.push_back({logits_[i].row(), by_raw});
    std::vector<Candidate> mine(indices.size() * static_cast<std::size_t>(width));
    scan_.best(wanted, width, mine);
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
  LogitsScan& scan_;
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

void choose_tokens(Communicator& group, LogitsScan& scan, ConstHostMatrix local_logits, Range vocab,
                   std::int64_t vocab_size, std::span<const ChoiceTask> tasks, HostSlotStates& states,
                   std::span<Choice> out) {
  if (tasks.empty()) return;
  Evaluation(group, scan, local_logits, vocab, vocab_size, tasks, states, out).run();
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (tasks[i].sample) states.slot(tasks[i].slot).choose(out[i].token);
  }
}

}  // namespace sinkstream::kernels
