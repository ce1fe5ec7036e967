#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/round_up.h"
#include "kernels/candidates.h"
#include "kernels/cuda/choosing/block_reduce.h"
#include "kernels/cuda/choosing/choose.h"
#include "kernels/cuda/choosing/logit_rows.h"
#include "kernels/cuda/choosing/selection.h"
#include "kernels/cuda/early_launch.h"
#include "kernels/gumbel_noise.h"

namespace sinkstream::kernels::cuda {
namespace {

constexpr int kPieceThreads = 256;  // at most, and so below: fewer where the vocabulary is small
constexpr int kPieceTokens = 8;     // of a thread of survey_kernel
constexpr int kCountedTokens = 16;  // of a thread of count_kernel
constexpr int kRowThreads = 896;    // leaves each the registers that it needs
constexpr std::int64_t kMostGridRows = 65'535;

// What survey_kernel learns of one piece of the vocabulary.
struct Piece {
  double raw_max;  // of raw logits; -inf if there is no number
  double raw_sum;  // of exp(raw - raw_max)
  Candidate best;  // of a choice that isn't truncated
  float adjusted_max;
  std::int32_t up_to_target;  // tokens that stand before the target by raw logit, or are it
};

// Of the outputs that are worked on at a time.
struct Scratch {
  Mass* masses;      // [outputs, kBins]: of truncated choices, by Likelihood::bin
  Piece* pieces;     // [outputs, num_pieces]
  unsigned* counts;  // [outputs, kBins]
  float* adjusted;   // [outputs, vocab_size]: adjusted logits of truncated choices
  std::int32_t num_pieces;
  double mass_unit;  // the mass of the most likely token

  __device__ const Piece* pieces_of(std::int64_t output) const { return pieces + output * num_pieces; }
};

__device__ bool wants_logprobs(const ChoiceTask& task) {
  return task.logprobs || !task.sample || task.top_logprobs > 0;
}

__device__ double noise(std::uint64_t seed, std::int64_t position, TokenId token) {
  return -log(-log(uniform_noise(seed, position, token)));
}

// ---- Each piece of the vocabulary, for each output

// This thread's logits of its block's piece; -inf behind the vocabulary's end.
struct PieceLogits {
  std::int32_t first;
  float raw[kPieceTokens];

  __device__ PieceLogits(const LogitRow& row, std::int32_t vocab_size)
      : first(static_cast<std::int32_t>(blockIdx.x * blockDim.x * kPieceTokens + threadIdx.x)) {
#pragma unroll
    for (int k = 0; k < kPieceTokens; ++k) raw[k] = token(k) < vocab_size ? row[token(k)] : -INFINITY;
  }
  __device__ std::int32_t token(int k) const {
    return first + k * static_cast<std::int32_t>(blockDim.x);
  }
};

__device__ void sum_up(const PieceLogits& logits, Piece& piece) {
  float largest = -INFINITY;
#pragma unroll
  for (int k = 0; k < kPieceTokens; ++k) largest = fmaxf(largest, logits.raw[k]);
  piece.raw_max = static_cast<double>(reduce_block(largest, Largest()));
  double sum = 0;
#pragma unroll
  for (int k = 0; k < kPieceTokens; ++k) {
    if (logits.raw[k] != -INFINITY) sum += exp(static_cast<double>(logits.raw[k]) - piece.raw_max);
  }
  piece.raw_sum = reduce_block(sum, Sum());
}

__device__ float raw_of_target(const LogitRow& row, TokenId target) {
  const float raw = row[target];
  return std::isnan(raw) ? -INFINITY : raw;
}

__device__ std::int32_t count_up_to(TokenId target, float target_raw, const PieceLogits& logits) {
  std::int32_t count = 0;
#pragma unroll
  for (int k = 0; k < kPieceTokens; ++k) {
    const float raw = logits.raw[k];
    count += raw > target_raw || (raw == target_raw && logits.token(k) <= target) ? 1 : 0;
  }
  return reduce_block(count, Sum());
}

__device__ Candidate best_of_piece(const PieceLogits& logits, const Adjustment& adjusted,
                                   const SlotState& slot, std::int64_t position, std::int32_t vocab_size) {
  Candidate best;
#pragma unroll
  for (int k = 0; k < kPieceTokens; ++k) {
    Candidate candidate{.token = logits.token(k)};
    if (candidate.token >= vocab_size) break;
    candidate.score = score_of(adjusted(logits.raw[k], candidate.token), slot.temperature);
    if (slot.temperature > 0) candidate.score += noise(slot.seed, position, candidate.token);
    if (ahead(candidate, best)) best = candidate;
  }
  return best_of_block(best);
}

__device__ float store_adjusted(const PieceLogits& logits, const Adjustment& adjusted,
                                std::int32_t vocab_size, float* out) {
  float largest = -INFINITY;
#pragma unroll
  for (int k = 0; k < kPieceTokens; ++k) {
    const std::int32_t token = logits.token(k);
    if (token >= vocab_size) break;
    out[token] = adjusted(logits.raw[k], token);
    largest = fmaxf(largest, out[token]);
  }
  return reduce_block(largest, Largest());
}

// Grid: pieces, outputs.
__global__ void __launch_bounds__(kPieceThreads)
    survey_kernel(LogitRows rows, const ChoiceTask* tasks, SlotStatesView states, Scratch scratch) {
  begin_after_previous();
  const std::int64_t output = blockIdx.y;
  const ChoiceTask task = tasks[output];
  const SlotState& slot = states.states[task.slot];
  const LogitRow row = rows.row(output);
  const PieceLogits logits(row, rows.vocab_size);
  Piece piece{-INFINITY, 0, {}, -INFINITY, 0};
  if (wants_logprobs(task)) sum_up(logits, piece);
  if (!task.sample) {
    piece.up_to_target = count_up_to(task.target, raw_of_target(row, task.target), logits);
  } else {
    const Adjustment adjusted(states, task.slot);
    if (slot.is_truncated()) {
      piece.adjusted_max =
          store_adjusted(logits, adjusted, rows.vocab_size, scratch.adjusted + output * rows.vocab_size);
      for (std::int64_t bin = blockIdx.x * blockDim.x + threadIdx.x; bin < kBins;
           bin += gridDim.x * blockDim.x) {
        scratch.counts[output * kBins + bin] = 0;
        scratch.masses[output * kBins + bin] = 0;
      }
    } else {
      piece.best = best_of_piece(logits, adjusted, slot, task.position, rows.vocab_size);
    }
  }
  if (threadIdx.x == 0) scratch.pieces[output * scratch.num_pieces + blockIdx.x] = piece;
}

// ---- How much of the likelihood is where, for truncated choices

__device__ float adjusted_max_of(const Piece* pieces, std::int32_t num_pieces) {
  float largest = -INFINITY;
  for (std::int32_t i = lane_id(); i < num_pieces; i += kWarpSize) {
    largest = fmaxf(largest, pieces[i].adjusted_max);
  }
  return reduce_warp(largest, Largest());
}

// Grid: parts of the vocabulary, outputs.
__global__ void __launch_bounds__(kPieceThreads)
    count_kernel(const ChoiceTask* tasks, const SlotState* states, std::int32_t vocab_size, Scratch scratch) {
  __shared__ Histogram histogram;
  begin_after_previous();
  const std::int64_t output = blockIdx.y;
  const ChoiceTask task = tasks[output];
  const SlotState& slot = states[task.slot];
  if (!task.sample || !slot.is_truncated()) return;
  const float largest = adjusted_max_of(scratch.pieces_of(output), scratch.num_pieces);
  if (std::isinf(largest)) return;
  const Likelihood likelihood(largest, slot.temperature, scratch.mass_unit);
  histogram.clear();
  __syncthreads();
  const float* const adjusted = scratch.adjusted + output * vocab_size;
  const auto first = static_cast<std::int32_t>(blockIdx.x * blockDim.x * kCountedTokens);
  visit_where(
      min(vocab_size - first, static_cast<std::int32_t>(blockDim.x * kCountedTokens)),
      [&](std::int32_t i) { return adjusted[first + i]; }, [](std::int32_t, float) { return true; },
      [&](std::int32_t, float logit) { histogram.add(likelihood.bin(logit), likelihood.mass(logit)); });
  __syncthreads();
  for (unsigned bin = threadIdx.x; bin < kBins; bin += blockDim.x) {
    const Amount amount = histogram.at(bin);
    if (amount.count > 0) atomicAdd(&scratch.counts[output * kBins + bin], amount.count);
    if (amount.mass > 0) atomicAdd(&scratch.masses[output * kBins + bin], amount.mass);
  }
}

// ---- Each output

__device__ double log_of_raw_sum(const Piece* pieces, std::int32_t num_pieces) {
  const auto larger = [](double a, double b) { return fmax(a, b); };
  double max = -INFINITY;
  for (std::int32_t i = lane_id(); i < num_pieces; i += kWarpSize) max = fmax(max, pieces[i].raw_max);
  max = reduce_warp(max, larger);
  double sum = 0;
  for (std::int32_t i = lane_id(); i < num_pieces; i += kWarpSize) {
    const Piece& piece = pieces[i];
    sum += piece.raw_max == kNever ? piece.raw_sum : piece.raw_sum * exp(piece.raw_max - max);
  }
  return max + log(reduce_warp(sum, Sum()));
}

__device__ std::int64_t rank_of_target(const Piece* pieces, std::int32_t num_pieces) {
  std::int32_t rank = 0;
  for (std::int32_t i = lane_id(); i < num_pieces; i += kWarpSize) rank += pieces[i].up_to_target;
  return reduce_warp(rank, Sum());
}

__device__ TokenId best_of_pieces(const Piece* pieces, std::int32_t num_pieces) {
  Candidate best;
  for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < num_pieces;
       i += static_cast<std::int32_t>(blockDim.x)) {
    if (ahead(pieces[i].best, best)) best = pieces[i].best;
  }
  return best_of_block(best).token;
}

// The tokens before a cut: those of a greater key, and of its own up to a token.
struct Kept {
  Key key;
  TokenId last_of_key;

  __device__ bool holds(Key other, TokenId token) const {
    return other > key || (other == key && token <= last_of_key);
  }
};

template <typename KeyAt>
__device__ Kept kept_by(const Cut& cut, std::int32_t vocab_size, const KeyAt& key_at, Histogram& histogram) {
  if (!cut.splits_equals()) return {cut.key, vocab_size - 1};
  const Key last = static_cast<Key>(vocab_size) - 1;
  const Cut among_equals = find_cut(
      vocab_size,
      [&](std::int32_t token) { return key_at(token) == cut.key ? last - static_cast<Key>(token) : kNoKey; },
      [](Key) { return Mass{0}; }, 0, last, {0, 0}, {.by_mass = false, .least = cut.taken}, histogram);
  return {cut.key, static_cast<TokenId>(last - among_equals.key)};
}

// A choice that top_k, top_p or min_p cut; -1 if there is no number among the logits.
class TruncatedChoice {
 public:
  __device__ TruncatedChoice(const SlotState& slot, std::int64_t output, float largest,
                             std::int32_t vocab_size, const Scratch& scratch, Histogram& histogram)
      : slot_(slot),
        likelihood_(largest, slot.temperature, scratch.mass_unit),
        adjusted_(scratch.adjusted + output * vocab_size),
        counts_(scratch.counts + output * kBins),
        masses_(scratch.masses + output * kBins),
        vocab_size_(vocab_size),
        histogram_(histogram) {}

  __device__ TokenId draw(std::int64_t position) const { return draw_from(kept(), position); }

 private:
  __device__ Key key_at(TokenId token) const { return key_of(adjusted_[token]); }

  // After top_k, top_p is a share of what top_k left; its cut never stands behind top_k's.
  __device__ Kept kept() const {
    const bool cuts_count = slot_.top_k > 0 && slot_.top_k < vocab_size_;
    const bool cuts_mass = slot_.top_p < 1;
    if (!cuts_count && !cuts_mass) return {kNotANumber, vocab_size_ - 1};
    Mass total = whole_mass();
    Cut cut{};
#pragma unroll 1
    for (int round = 0; round < 2; ++round) {
      const bool by_mass = round == 1;
      if (by_mass ? !cuts_mass : !cuts_count) continue;
      cut = find({by_mass, by_mass ? share_of(total) : static_cast<Mass>(slot_.top_k)});
      total = cut.mass();
    }
    return kept_by(
        cut, vocab_size_, [&](TokenId token) { return key_at(token); }, histogram_);
  }

  __device__ Mass whole_mass() const {
    Mass mass = 0;
    for (unsigned bin = threadIdx.x; bin < kBins; bin += blockDim.x) mass += masses_[bin];
    return reduce_block(mass, Sum());
  }

  __device__ Mass share_of(Mass total) const {
    const double share = ceil(static_cast<double>(slot_.top_p) * static_cast<double>(total));
    return min(max(static_cast<Mass>(share), Mass{1}), total);
  }

  __device__ Cut find(const Goal& goal) const {
    for (unsigned bin = threadIdx.x; bin < kBins; bin += blockDim.x) {
      histogram_.set(bin, {counts_[bin], masses_[bin]});
    }
    __syncthreads();
    const Place place = find_bin(histogram_, goal, {0, 0});
    const Key highest =
        place.bin == 0 ? likelihood_.highest_key() : likelihood_.lowest_key(place.bin - 1) - 1;
    return find_cut(
        vocab_size_, [&](TokenId token) { return key_at(token); },
        [&](Key key) { return likelihood_.mass(number_of(key)); }, likelihood_.lowest_key(place.bin), highest,
        place.before, goal, histogram_);
  }

  __device__ TokenId draw_from(const Kept& kept, std::int64_t position) const {
    const auto min_p = static_cast<double>(slot_.min_p);
    Candidate best;
    visit_where(
        vocab_size_, [&](TokenId token) { return adjusted_[token]; },
        [&](TokenId token, float adjusted) {
          return kept.holds(key_of(adjusted), token) && !std::isnan(adjusted);
        },
        [&](TokenId token, float adjusted) {
          if (min_p > 0 && likelihood_.ratio(adjusted) < min_p) return;
          const double score = likelihood_.score(adjusted) + noise(slot_.seed, position, token);
          const Candidate candidate{.token = token, .score = score};
          if (ahead(candidate, best)) best = candidate;
        });
    return best_of_block(best).token;
  }

  const SlotState& slot_;
  Likelihood likelihood_;
  const float* adjusted_;
  const unsigned* counts_;
  const Mass* masses_;
  std::int32_t vocab_size_;
  Histogram& histogram_;
};

// The first of those that are infinite: nothing else is as likely.
__device__ TokenId first_infinite(const float* adjusted, std::int32_t vocab_size) {
  Candidate first;
  visit_where(
      vocab_size, [&](TokenId token) { return adjusted[token]; },
      [](TokenId, float logit) { return logit == INFINITY; },
      [&](TokenId token, float) {
        const Candidate candidate{.token = token, .score = INFINITY};
        if (ahead(candidate, first)) first = candidate;
      });
  return best_of_block(first).token;
}

__device__ TokenId chosen_of(const ChoiceTask& task, const SlotState& slot, std::int64_t output,
                             std::int32_t vocab_size, const Scratch& scratch, Histogram& histogram) {
  const Piece* const pieces = scratch.pieces_of(output);
  if (!slot.is_truncated()) return best_of_pieces(pieces, scratch.num_pieces);
  const float largest = adjusted_max_of(pieces, scratch.num_pieces);
  if (largest == -INFINITY) return -1;
  if (std::isinf(largest)) return first_infinite(scratch.adjusted + output * vocab_size, vocab_size);
  return TruncatedChoice(slot, output, largest, vocab_size, scratch, histogram).draw(task.position);
}

// A raw logit so low that at least `count` tokens' are no lower: that many pieces have their largest there.
__device__ Key lowest_key_of_top(std::int32_t count, const Piece* pieces, std::int32_t num_pieces) {
  __shared__ Key lowest;
  if (threadIdx.x == 0) lowest = kNotANumber;
  __syncthreads();
  for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < num_pieces;
       i += static_cast<std::int32_t>(blockDim.x)) {
    const double mine = pieces[i].raw_max;
    if (mine == kNever) continue;
    std::int32_t place = 1;
    for (std::int32_t j = 0; j < num_pieces; ++j) {
      const double other = pieces[j].raw_max;
      place += other > mine || (other == mine && j < i) ? 1 : 0;
    }
    if (place == count) lowest = key_of(static_cast<float>(mine));
  }
  __syncthreads();
  return lowest;
}

// Fewer than wanted where the vocabulary has fewer numbers.
__device__ void find_top_logprobs(std::int32_t wanted, const LogitRow& row, std::int32_t vocab_size,
                                  const Piece* pieces, std::int32_t num_pieces, Histogram& histogram,
                                  Choice& choice) {
  __shared__ int found;
  __shared__ TokenId tokens[kMaxTopLogprobs];
  __shared__ float logits[kMaxTopLogprobs];
  wanted = min(min(wanted, kMaxTopLogprobs), vocab_size);
  const auto key_at = [&](TokenId token) { return key_of(row[token]); };
  const Cut cut = find_cut(
      vocab_size, key_at, [](Key) { return Mass{0}; }, lowest_key_of_top(wanted, pieces, num_pieces),
      key_of(INFINITY), {0, 0}, {.by_mass = false, .least = static_cast<Mass>(wanted)}, histogram);
  const Kept kept = kept_by(cut, vocab_size, key_at, histogram);
  if (threadIdx.x == 0) found = 0;
  __syncthreads();
  visit_where(
      vocab_size, [&](TokenId token) { return row[token]; },
      [&](TokenId token, float raw) { return kept.holds(key_of(raw), token) && !std::isnan(raw); },
      [&](TokenId token, float raw) {
        const int at = atomicAdd(&found, 1);
        tokens[at] = token;
        logits[at] = raw;
      });
  __syncthreads();
  const auto mine = static_cast<int>(threadIdx.x);
  const double log_of_sum = log_of_raw_sum(pieces, num_pieces);
  if (mine < found) {
    int place = 0;
    for (int i = 0; i < found; ++i) {
      place += logits[i] > logits[mine] || (logits[i] == logits[mine] && tokens[i] < tokens[mine]) ? 1 : 0;
    }
    choice.top[place] = {tokens[mine], static_cast<float>(static_cast<double>(logits[mine]) - log_of_sum)};
  }
  if (mine == 0) choice.top_count = found;
}

__device__ void decide(const ChoiceTask& task, const SlotState& slot, const LogitRow& row,
                       std::int64_t output, std::int32_t vocab_size, const Scratch& scratch,
                       Histogram& histogram, Choice& choice) {
  const Piece* const pieces = scratch.pieces_of(output);
  TokenId token = task.target;
  std::int64_t rank = 0;
  if (task.sample) {
    token = chosen_of(task, slot, output, vocab_size, scratch, histogram);
  } else {
    rank = rank_of_target(pieces, scratch.num_pieces);
  }
  float logprob = 0;
  if (!task.sample || (task.logprobs && token >= 0)) {
    const float raw = task.sample ? row[token] : raw_of_target(row, token);
    logprob = static_cast<float>(static_cast<double>(raw) - log_of_raw_sum(pieces, scratch.num_pieces));
  }
  if (threadIdx.x != 0) return;
  choice.token = token;
  choice.logprob = logprob;
  choice.rank = rank;
}

// Grid: outputs, and for each one block that decides and one that finds the most likely tokens.
__global__ void __launch_bounds__(kRowThreads)
    decide_kernel(LogitRows rows, const ChoiceTask* tasks, const SlotState* states, Scratch scratch,
                  Choice* out) {
  __shared__ Histogram histogram;
  begin_after_previous();
  const std::int64_t output = blockIdx.x;
  const ChoiceTask& task = tasks[output];
  const LogitRow row = rows.row(output);
  Choice& choice = out[output];
  if (blockIdx.y == 0) {
    decide(task, states[task.slot], row, output, rows.vocab_size, scratch, histogram, choice);
    return;
  }
  if (threadIdx.x == 0) choice.top_count = 0;
  if (threadIdx.x < kMaxTopLogprobs) choice.top[threadIdx.x] = {};
  __syncthreads();
  if (task.top_logprobs == 0) return;
  find_top_logprobs(task.top_logprobs, row, rows.vocab_size, scratch.pieces_of(output), scratch.num_pieces,
                    histogram, choice);
}

// ---- What was chosen

__device__ void count_token(const SlotStatesView& states, std::int32_t slot, TokenId token) {
  SlotState& state = states.states[slot];
  if (!state.has_penalties) return;
  std::int32_t* const counts = states.counts_of(slot);
  if (!state.counts_newest()) {
    ++counts[token];
    return;
  }
  if (states.is_end_of(slot)[token] != 0) return;
  TokenId& place = states.newest_of(slot)[state.num_counted % state.repeat_last_n];
  if (state.num_counted >= state.repeat_last_n) --counts[place];
  ++counts[token];
  place = token;
  ++state.num_counted;
}

// A thread an output; where several are of one slot, the first one's takes them all, in their order.
__global__ void remember_kernel(const ChoiceTask* tasks, std::int64_t outputs, SlotStatesView states,
                                const Choice* out) {
  begin_after_previous();
  const std::int64_t mine = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (mine >= outputs || !tasks[mine].sample) return;
  const std::int32_t slot = tasks[mine].slot;
  const auto is_of_slot = [&](std::int64_t i) { return tasks[i].sample && tasks[i].slot == slot; };
  for (std::int64_t i = 0; i < mine; ++i) {
    if (is_of_slot(i)) return;
  }
  SlotState& state = states.states[slot];
  for (std::int64_t i = mine; i < outputs; ++i) {
    if (!is_of_slot(i)) continue;
    state.last_chosen = out[i].token;
    ++state.num_chosen;
    if (out[i].token >= 0) count_token(states, slot, out[i].token);
  }
}

// ---- On the host

unsigned threads_for(std::int64_t tokens, std::int64_t tokens_each, std::int64_t most) {
  return static_cast<unsigned>(
      std::min(most, ceil_divide<std::int64_t>(tokens, tokens_each * kWarpSize) * kWarpSize));
}

LaunchShape pieces_and_outputs(std::int64_t vocab_size, std::int64_t tokens_each, std::int64_t outputs) {
  const unsigned threads = threads_for(vocab_size, tokens_each, kPieceThreads);
  return {.grid = dim3(static_cast<unsigned>(ceil_divide<std::int64_t>(vocab_size, threads * tokens_each)),
                       static_cast<unsigned>(outputs)),
          .block = dim3(threads)};
}

std::int64_t num_pieces(std::int64_t vocab_size) {
  return pieces_and_outputs(vocab_size, kPieceTokens, 1).grid.x;
}

constexpr std::int64_t kAlignment = 16;

std::int64_t scratch_bytes_of_output(std::int64_t vocab_size) {
  return kBins * std::int64_t{sizeof(Mass) + sizeof(unsigned)} +
         num_pieces(vocab_size) * std::int64_t{sizeof(Piece)} + vocab_size * std::int64_t{sizeof(float)};
}

// A row's masses add up to less than 2^63.
double mass_unit(std::int64_t vocab_size) {
  int bits = 0;
  while (std::int64_t{1} << bits < vocab_size) ++bits;
  return std::ldexp(1.0, 62 - bits);
}

Scratch place(Address workspace, std::int64_t outputs, std::int64_t vocab_size) {
  Address next{static_cast<std::uintptr_t>(round_up(static_cast<std::int64_t>(workspace), kAlignment))};
  const auto take = [&](std::int64_t bytes) { return std::exchange(next, next + outputs * bytes); };
  Scratch scratch;
  scratch.num_pieces = static_cast<std::int32_t>(num_pieces(vocab_size));
  scratch.mass_unit = mass_unit(vocab_size);
  scratch.masses = device_pointer<Mass>(take(kBins * std::int64_t{sizeof(Mass)}));
  scratch.pieces = device_pointer<Piece>(take(scratch.num_pieces * std::int64_t{sizeof(Piece)}));
  scratch.counts = device_pointer<unsigned>(take(kBins * std::int64_t{sizeof(unsigned)}));
  scratch.adjusted = device_pointer<float>(take(vocab_size * std::int64_t{sizeof(float)}));
  return scratch;
}

}  // namespace

std::int64_t choose_workspace_bytes(std::int64_t vocab_size) {
  return scratch_bytes_of_output(vocab_size) + kAlignment;
}

void choose(const Device& device, const Logits& logits, DeviceSpan<const ChoiceTask> tasks,
            const SlotStatesView& states, DeviceSpan<Choice> out) {
  if (tasks.empty()) return;
  const std::int64_t vocab_size = logits.vocab_size;
  const std::int64_t room = device.workspace_bytes - kAlignment;
  const std::int64_t at_once =
      std::min({tasks.size, room / scratch_bytes_of_output(vocab_size), kMostGridRows});
  if (at_once < 1) {
    throw std::invalid_argument("choose: a workspace of " + std::to_string(device.workspace_bytes) +
                                " bytes, but " + std::to_string(choose_workspace_bytes(vocab_size)) +
                                " are needed");
  }
  const Scratch scratch = place(device.workspace, at_once, vocab_size);
  for (std::int64_t begin = 0; begin < tasks.size; begin += at_once) {
    const std::int64_t count = std::min(at_once, tasks.size - begin);
    LogitRows rows(logits);
    rows.data += begin * rows.stride;
    const auto* const some = device_pointer<const ChoiceTask>(tasks.part(begin, count).data);
    launch_early(device, survey_kernel, pieces_and_outputs(vocab_size, kPieceTokens, count), rows, some,
                 states, scratch);
    launch_early(device, count_kernel, pieces_and_outputs(vocab_size, kCountedTokens, count), some,
                 states.states, rows.vocab_size, scratch);
    launch_early(device, decide_kernel,
                 {.grid = dim3(static_cast<unsigned>(count), 2),
                  .block = dim3(threads_for(vocab_size, kPieceTokens, kRowThreads))},
                 rows, some, states.states, scratch, device_pointer<Choice>(out.part(begin, count).data));
  }
  // Only now: all of them were chosen by what the slots were before.
  constexpr int kThreads = 128;
  launch_early(device, remember_kernel, thread_each(tasks.size, kThreads),
               device_pointer<const ChoiceTask>(tasks.data), tasks.size, states,
               device_pointer<const Choice>(out.data));
}

}  // namespace sinkstream::kernels::cuda
