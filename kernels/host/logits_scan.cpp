#include "kernels/host/logits_scan.h"

#include <vector>

#include "kernels/gumbel_noise.h"

namespace sinkstream::kernels {
namespace {

template <typename Score>
ExpSum exp_sum(std::int64_t count, const Score& score) {
  ExpSum result;
  for (std::int64_t i = 0; i < count; ++i) result.max = std::max(result.max, static_cast<double>(score(i)));
  if (result.max == kNever) return result;
  for (std::int64_t i = 0; i < count; ++i) result.sum += std::exp(static_cast<double>(score(i)) - result.max);
  return result;
}

Candidate best_of(const SummaryTask& task) {
  const LogitsRow& row = task.row;
  Candidate best;
  for (std::int64_t i = 0; i < row.size(); ++i) {
    Candidate candidate = row.candidate(i, row.scaled(i));
    if (task.noise()) candidate.score += gumbel_noise(task.seed, task.position, candidate.token);
    if (ahead(candidate, best)) best = candidate;
  }
  return best;
}

}  // namespace

void PlainLogitsScan::summarize(std::span<const SummaryTask> tasks, std::span<Summary> out) {
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    const LogitsRow& row = tasks[t].row;
    out[t] = {};
    if (tasks[t].raw_sum) out[t].raw = exp_sum(row.size(), [&](std::int64_t i) { return row.raw[i]; });
    if (tasks[t].scaled_sum)
      out[t].scaled = exp_sum(row.size(), [&](std::int64_t i) { return row.scaled(i); });
    if (tasks[t].best) out[t].best = best_of(tasks[t]);
  }
}

void PlainLogitsScan::count_up_to(std::span<const CountTask> tasks, std::span<std::int64_t> out) {
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    const auto& [row, last, last_raw] = tasks[t];
    out[t] = 0;
    for (std::int64_t i = 0; i < row.size(); ++i) {
      out[t] += row.raw[i] > last_raw || (row.raw[i] == last_raw && row.token(i) <= last);
    }
  }
}

void PlainLogitsScan::best(std::span<const BestTask> tasks, std::int64_t width, std::span<Candidate> out) {
  for (const BestTask& task : tasks) {
    std::vector<Candidate> all;
    for (std::int64_t i = 0; i < task.row.size(); ++i) {
      const Candidate candidate = task.candidate(i);
      if (!std::isnan(candidate.score)) all.push_back(candidate);
    }
    const std::int64_t kept = std::min<std::int64_t>(width, std::ssize(all));
    std::partial_sort(all.begin(), all.begin() + kept, all.end(), ahead);
    std::copy_n(all.begin(), kept, out.begin());
    std::fill_n(out.begin() + kept, width - kept, Candidate());
    out = out.subspan(static_cast<std::size_t>(width));
  }
}

}  // namespace sinkstream::kernels
