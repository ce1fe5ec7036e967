#include "kernels/cpu/logits_scan.h"

#include <hwy/contrib/sort/vqsort.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "kernels/gumbel_noise.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/logits_scan.cpp"
#include <hwy/foreach_target.h>

// What follows is included once per instruction set.
#include <hwy/contrib/math/math-inl.h>

#include "kernels/cpu/load-inl.h"

#ifndef SINKSTREAM_KERNELS_LOGITS_SCAN_ONCE
#define SINKSTREAM_KERNELS_LOGITS_SCAN_ONCE
namespace sinkstream::kernels {

// A block is the unit of the threads; a strip of it is what one maximum is kept of.
inline constexpr std::int64_t kBlock = 4096;
inline constexpr std::int64_t kStrip = 32;

inline constexpr float kLeast = -std::numeric_limits<float>::infinity();

}  // namespace sinkstream::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace sinkstream::kernels::HWY_NAMESPACE {

using Doubles = hn::Rebind<double, hn::Half<Floats>>;
using DoubleVector = hn::Vec<Doubles>;

// NaN is less than all numbers here: it is never chosen.
HWY_INLINE FloatVector at_least(FloatVector least, FloatVector values) {
  return hn::IfThenElse(hn::Gt(values, least), values, least);
}

HWY_INLINE float max_of_lanes(FloatVector values) {
  return hn::GetLane(hn::MaxOfLanes(Floats(), values));
}

// The largest number; kLeast where there is none.
float largest(const float* logits, std::int64_t count) {
  FloatVector most = hn::Set(Floats(), kLeast);
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) most = at_least(most, load(logits + i));
  float result = max_of_lanes(most);
  for (; i < count; ++i) result = logits[i] > result ? logits[i] : result;
  return result;
}

// Of logits over the temperature; each of them is rounded as LogitsRow::scaled() rounds it.
ExpSum exp_sum(const float* logits, std::int64_t count, double temperature) {
  const float most = largest(logits, count);
  ExpSum result{most / temperature, 0};
  if (most == kLeast) {
    // Nothing but minus infinity, or what is no number: that must show.
    const bool is_odd = std::any_of(logits, logits + count, [](float logit) { return std::isnan(logit); });
    if (!is_odd) return {};
    return {std::numeric_limits<double>::lowest(), std::numeric_limits<double>::quiet_NaN()};
  }
  constexpr std::int64_t kDoubles = hn::MaxLanes(Doubles());
  const hn::Rebind<float, Doubles> halves;
  const DoubleVector divisor = hn::Set(Doubles(), temperature), max = hn::Set(Doubles(), result.max);
  DoubleVector sums = hn::Zero(Doubles());
  const auto term = [&](const float* from) HWY_ATTR {
    const DoubleVector values = hn::PromoteTo(Doubles(), hn::LoadU(halves, from));
    const DoubleVector below = hn::Sub(hn::Div(values, divisor), max);
    return hn::IfThenElse(hn::IsNaN(below), below, hn::Exp(Doubles(), below));  // Exp would make it 0
  };
  std::int64_t i = 0;
  for (; i + kDoubles <= count; i += kDoubles) sums = hn::Add(sums, term(logits + i));
  result.sum = hn::GetLane(hn::SumOfLanes(Doubles(), sums));
  for (; i < count; ++i) result.sum += std::exp(logits[i] / temperature - result.max);
  return result;
}

// The first of the largest.
Candidate likeliest(const LogitsRow& row, std::int64_t begin, std::int64_t end) {
  const float* const logits = row.adjusted.data();
  const float most = largest(logits + begin, end - begin);
  if (most == kLeast) return {};
  const std::int64_t i = std::find(logits + begin, logits + end, most) - logits;
  return row.candidate(i, row.scaled(i));
}

std::int64_t count_up_to(const CountTask& task, std::int64_t begin, std::int64_t end) {
  const float* const logits = task.row.raw.data();
  const std::int64_t behind =
      std::clamp<std::int64_t>(std::int64_t{task.token} + 1 - task.row.first_token, begin, end);
  std::int64_t count = 0;
  for (std::int64_t i = begin; i < behind; ++i) count += logits[i] >= task.raw;
  for (std::int64_t i = behind; i < end; ++i) count += logits[i] > task.raw;
  return count;
}

// The largest of each strip.
void find_maxima(std::span<const float> logits, std::int64_t first_strip, std::int64_t end_strip,
                 float* out) {
  const std::int64_t size = std::ssize(logits);
  for (std::int64_t strip = first_strip; strip < end_strip; ++strip) {
    const std::int64_t begin = strip * kStrip;
    out[strip] = largest(logits.data() + begin, std::min(kStrip, size - begin));
  }
}

}  // namespace sinkstream::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sinkstream::kernels {

HWY_EXPORT(exp_sum);
HWY_EXPORT(likeliest);
HWY_EXPORT(count_up_to);
HWY_EXPORT(find_maxima);

namespace {

// A sample: the best score with noise, which is computed only where it might come first.
Candidate sample(const SummaryTask& task, std::int64_t begin, std::int64_t end) {
  const LogitsRow& row = task.row;
  Candidate best;
  for (std::int64_t i = begin; i < end; ++i) {
    Candidate candidate = row.candidate(i, row.scaled(i));
    const std::uint64_t bits = uniform_bits(task.seed, task.position, candidate.token);
    if (candidate.score + most_gumbel_noise(bits) < best.score) continue;
    candidate.score += gumbel_noise(bits);
    if (ahead(candidate, best)) best = candidate;
  }
  return best;
}

std::int64_t blocks_of(const LogitsRow& row) {
  return (row.size() + kBlock - 1) / kBlock;
}

// Calls body(task, begin, end, its number among all) for the blocks of all tasks, which have equally long
// rows.
template <typename Task, typename Body>
void for_each_block(ThreadPool& threads, std::span<const Task> tasks, const Body& body) {
  const std::int64_t blocks = blocks_of(tasks.front().row), size = tasks.front().row.size();
  threads.parallel_for(std::ssize(tasks) * blocks, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t begin = i % blocks * kBlock;
      body(tasks[static_cast<std::size_t>(i / blocks)], begin, std::min(begin + kBlock, size), i);
    }
  });
}

Summary summarize_block(const SummaryTask& task, std::int64_t begin, std::int64_t end) {
  const LogitsRow& row = task.row;
  Summary summary;
  if (task.raw_sum) {
    summary.raw = HWY_DYNAMIC_DISPATCH(exp_sum)(row.raw.data() + begin, end - begin, 1.0);
  }
  if (task.scaled_sum) {
    summary.scaled = HWY_DYNAMIC_DISPATCH(exp_sum)(row.adjusted.data() + begin, end - begin, row.temperature);
  }
  if (task.best) {
    summary.best = task.noise() ? sample(task, begin, end) : HWY_DYNAMIC_DISPATCH(likeliest)(row, begin, end);
  }
  return summary;
}

// A logit that at least `width` of them reach, and not many more: of one in each of `width` strips, where
// there are enough. maxima: of the strips
float bound_of_best(std::vector<float> maxima, std::int64_t width) {
  if (2 * width > std::ssize(maxima)) return kLeast;
  std::nth_element(maxima.begin(), maxima.begin() + width - 1, maxima.end(), std::greater());
  return maxima[static_cast<std::size_t>(width - 1)];
}

// Grows from candidate to candidate, best first: the larger logit, then the earlier token.
std::uint64_t order_key(float logit, std::int64_t i) {
  constexpr std::uint32_t kSign = 0x80000000;
  const auto bits = std::bit_cast<std::uint32_t>(logit + 0.0f);  // one zero instead of two
  const std::uint32_t falling = bits & kSign ? bits : ~bits & ~kSign;
  return std::uint64_t{falling} << 32 | static_cast<std::uint32_t>(i);
}

// maxima: of the strips
void find_best(const BestTask& task, std::span<const float> maxima, std::int64_t width,
               std::span<Candidate> out) {
  const std::span<const float> logits = task.logits();
  const float bound = bound_of_best({maxima.begin(), maxima.end()}, width);
  std::vector<std::uint64_t> found;
  if (bound == kLeast) found.reserve(logits.size());
  for (std::int64_t strip = 0; strip < std::ssize(maxima); ++strip) {
    if (maxima[static_cast<std::size_t>(strip)] < bound) continue;
    const std::int64_t end = std::min((strip + 1) * kStrip, std::ssize(logits));
    for (std::int64_t i = strip * kStrip; i < end; ++i) {
      const float logit = logits[static_cast<std::size_t>(i)];
      if (logit >= bound) found.push_back(order_key(logit, i));
    }
  }
  hwy::Sorter()(found.data(), found.size(), hwy::SortAscending());
  const auto kept = static_cast<std::size_t>(std::min(width, std::ssize(found)));
  for (std::size_t k = 0; k < kept; ++k) out[k] = task.candidate(static_cast<std::uint32_t>(found[k]));
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(kept), out.end(), Candidate());
}

}  // namespace

void CpuLogitsScan::summarize(std::span<const SummaryTask> tasks, std::span<Summary> out) {
  const std::int64_t blocks = blocks_of(tasks.front().row);
  summaries_.resize(static_cast<std::size_t>(std::ssize(tasks) * blocks));
  for_each_block(threads_, tasks,
                 [&](const SummaryTask& task, std::int64_t begin, std::int64_t end, std::int64_t i) {
                   summaries_[static_cast<std::size_t>(i)] = summarize_block(task, begin, end);
                 });
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    out[t] = {};
    for (const Summary& block :
         std::span(summaries_)
             .subspan(t * static_cast<std::size_t>(blocks), static_cast<std::size_t>(blocks))) {
      out[t].raw = combine(out[t].raw, block.raw);
      out[t].scaled = combine(out[t].scaled, block.scaled);
      if (ahead(block.best, out[t].best)) out[t].best = block.best;
    }
  }
}

void CpuLogitsScan::count_up_to(std::span<const CountTask> tasks, std::span<std::int64_t> out) {
  const std::int64_t blocks = blocks_of(tasks.front().row);
  counts_.resize(static_cast<std::size_t>(std::ssize(tasks) * blocks));
  for_each_block(threads_, tasks,
                 [&](const CountTask& task, std::int64_t begin, std::int64_t end, std::int64_t i) {
                   counts_[static_cast<std::size_t>(i)] = HWY_DYNAMIC_DISPATCH(count_up_to)(task, begin, end);
                 });
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    const auto first = counts_.begin() + static_cast<std::ptrdiff_t>(t) * blocks;
    out[t] = std::accumulate(first, first + blocks, std::int64_t{0});
  }
}

void CpuLogitsScan::best(std::span<const BestTask> tasks, std::int64_t width, std::span<Candidate> out) {
  const std::int64_t strips = (tasks.front().row.size() + kStrip - 1) / kStrip;
  maxima_.resize(static_cast<std::size_t>(std::ssize(tasks) * strips));
  const auto maxima_of = [&](std::int64_t task) {
    return std::span(maxima_).subspan(static_cast<std::size_t>(task * strips),
                                      static_cast<std::size_t>(strips));
  };
  for_each_block(
      threads_, tasks, [&](const BestTask& task, std::int64_t begin, std::int64_t end, std::int64_t) {
        HWY_DYNAMIC_DISPATCH(find_maxima)
        (task.logits(), begin / kStrip, (end + kStrip - 1) / kStrip, maxima_of(&task - tasks.data()).data());
      });
  threads_.parallel_for(std::ssize(tasks), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      find_best(tasks[static_cast<std::size_t>(t)], maxima_of(t), width,
                out.subspan(static_cast<std::size_t>(t * width), static_cast<std::size_t>(width)));
    }
  });
}

}  // namespace sinkstream::kernels
#endif
